package nexthop

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// send sends the message.
func (t *transaction) send() error {
	p := t.p
	if _, err := t.message.Seek(0, io.SeekStart); err != nil {
		return readError{fmt.Errorf("read message: %w", err)}
	}
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	end, err := b.dotted(t.message, p.write)
	if err == nil && p.r.Buffered() > 0 {
		err = errors.New("the next hop spoke before the message's end")
	}
	switch {
	case isReadError(err):
		return err // and no dot: half a message is none
	case err != nil:
		return t.early(err)
	}
	if t.m.Final != nil {
		if err := t.m.Final(); err != nil {
			return fmt.Errorf("end of message: %w", err)
		}
	}
	if err := p.write(end); err != nil {
		return t.early(err)
	}
	p.dirty = false
	if t.hop.options.LMTP {
		return t.eachResult()
	}
	r, err := p.reply(t.hop.options.End)
	if err != nil {
		return fmt.Errorf("end of message: %w", err)
	}
	return t.result(r, t.accepted...)
}

// earlyTimeout is how long a hop's word is waited for that broke off while it was sent a message.
const earlyTimeout = time.Second

// early is the end of a hop that does not want all of a message, which it may have said before it went. It has no message,
// for that has no end.
func (t *transaction) early(cause error) error {
	r, err := t.p.reply(min(earlyTimeout, t.hop.options.Command))
	t.anew = true // or it would be sent on each that is idle
	switch {
	case err == nil && r.code == 421:
		return goneError{refused("message", r)}
	case (err != nil || !r.negative()) && isTimeout(cause): // it is there and does not take it
		return fmt.Errorf("message: %w", cause)
	case err != nil || !r.negative():
		return goneError{fmt.Errorf("message: %w", cause)}
	}
	t.refuse(refused("message", r), t.accepted...)
	t.p.served++
	return goneError{fmt.Errorf("message: %w", cause)}
}

// eachResult takes a reply for each recipient (RFC 2033 section 4.2). Those without one, since the
// connection broke, share the error and are tried again.
func (t *transaction) eachResult() error {
	for _, recipient := range t.accepted {
		r, err := t.p.reply(t.hop.options.End)
		if err != nil {
			return fmt.Errorf("end of message: %w", err)
		}
		if err := t.result(r, recipient); err != nil {
			return err
		}
	}
	return nil
}

// result reports the hop's reply to the message.
func (t *transaction) result(r reply, recipients ...*Recipient) error {
	switch {
	case r.positive():
		// A mail store is where it ends, unless it says that it notifies.
		dsn := t.p.offers.dsn
		t.report(t.p, Outcome{Reply: r.smtp(), Relayed: dsn || !t.hop.options.LMTP, Notifies: dsn}, recipients...)
	case r.negative():
		t.p.ending = t.p.ending || r.code == 421
		t.refuse(refused("end of message", r), recipients...)
	default:
		return refused("end of message", r)
	}
	return nil
}
