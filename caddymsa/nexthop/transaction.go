package nexthop

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-smtp"
)

// transaction is the message on one connection to some of its recipients.
type transaction struct {
	*delivery
	p     *peer
	group []*Recipient

	mail     bool         // MAIL was accepted
	accepted []*Recipient // by RCPT
	over     []overflow   // recipients that may exceed a limit of the hop's
	data     *reply       // to DATA, if that was said
}

type overflow struct {
	recipient *Recipient
	reply     reply
}

// transaction does one, and reports what became of recipients. Those it leaves alone are for the next one.
// After an error the connection cannot be used.
func (d *delivery) transaction(p *peer) error {
	t := &transaction{delivery: d, p: p, group: d.group(p)}
	err := t.envelope()
	if err == nil {
		t.limits()
		err = t.finish()
	}
	switch {
	case err == nil:
		p.served++
		return nil
	case isReadError(err):
		p.ending = true
		return err
	}
	p.ending = true
	return d.failure(p, err, false)
}

// maxFlight is how many octets of commands are sent before the replies to them are read: as many as fit
// between two hosts that both write, so that neither waits for the other (RFC 2920 section 3.1).
const maxFlight = 16 << 10

// step is one of the commands of an envelope: RCPTs have their recipient's number.
type step int

const (
	stepReset step = iota - 2
	stepMail
	stepRcpt // the first
)

func (t *transaction) stepData() step { return stepRcpt + step(len(t.group)) }

// command is what is said, and the verb of it.
func (t *transaction) command(s step) (verb, command string) {
	switch {
	case s == stepReset:
		return "RSET", "RSET"
	case s == stepMail:
		return "MAIL", mailCommand(t.m, &t.p.offers)
	case s < t.stepData():
		return "RCPT", rcptCommand(t.group[s], &t.p.offers, t.m.Options.UTF8 && t.p.offers.utf8)
	}
	return "DATA", "DATA"
}

// envelope says MAIL, RCPT and DATA, as many at once as the hop lets be, and takes the replies.
func (t *transaction) envelope() error {
	p, next := t.p, stepMail
	if p.dirty {
		next = stepReset
	}
	p.dirty = true
	p.begun++
	for answered := next; answered <= t.stepData(); {
		for first := next; next <= t.stepData() && (next == first || p.offers.pipelining && len(p.w) < maxFlight); next++ {
			_, command := t.command(next)
			p.say(command)
		}
		if err := p.flush(); err != nil {
			return t.lost(answered, err)
		}
		for ; answered < next; answered++ {
			r, err := p.reply(t.patience())
			if err != nil {
				return t.lost(answered, err)
			}
			p.rested = false
			if err := t.take(answered, r); err != nil {
				return err
			}
		}
		// What follows depends on what was said.
		switch {
		case answered > stepMail && !t.mail, answered == t.stepData() && len(t.accepted) == 0:
			return nil
		case !p.offers.pipelining && len(t.over) > 0 && len(t.accepted) > 0 && answered < t.stepData():
			next = t.stepData()
			answered = next
		}
	}
	return nil
}

// restedTimeout is how long the first reply may take on a connection that was idle: who has forgotten it on
// the way says nothing.
const restedTimeout = 30 * time.Second

func (t *transaction) patience() time.Duration {
	if t.p.rested {
		return min(t.hop.options.Command, restedTimeout)
	}
	return t.hop.options.Command
}

// lost is the error of a connection that broke before the hop had the message.
func (t *transaction) lost(s step, err error) error {
	verb, _ := t.command(s)
	if !t.p.rested && isTimeout(err) { // it is there and does not answer
		return fmt.Errorf("%s: %w", verb, err)
	}
	return goneError{fmt.Errorf("%s: %w", verb, err)}
}

// take notes the reply to a command.
func (t *transaction) take(s step, r reply) error {
	verb, _ := t.command(s)
	switch {
	case r.code == 421 || s == stepReset && !r.positive():
		return goneError{refused(verb, r)}
	case s < t.stepData() && !r.positive() && !r.negative():
		return refused(verb, r)
	case s == stepMail && r.positive():
		t.mail = true
	case s == stepMail:
		err := refused(verb, r)
		if isOurs(r.smtp()) {
			return err
		}
		t.refuse(err, t.group...)
	case s == t.stepData():
		t.data = &r
	case s < stepRcpt || !t.mail:
	case r.positive():
		t.accepted = append(t.accepted, t.group[s])
	case tooMany(r.smtp()):
		t.over = append(t.over, overflow{t.group[s], r})
	default:
		t.refuse(refused(verb, r), t.group[s])
	}
	return nil
}

// limits keeps to the number of recipients that the hop has shown to take. Without one that it took, those
// over the limit have no better chance the next time.
func (t *transaction) limits() {
	if len(t.over) > 0 && len(t.accepted) > 0 {
		t.limit = len(t.accepted)
		return
	}
	for _, o := range t.over {
		e := o.reply.smtp()
		if e.Code == 552 { // means 452 (RFC 5321 section 4.5.3.1.10)
			e.Code, e.EnhancedCode = 452, smtp.EnhancedCode{4, 5, 3}
		}
		t.refuse(&refusal{"RCPT", e}, o.recipient)
	}
}

// refuse reports recipients whom the hop has refused.
func (t *transaction) refuse(err error, recipients ...*Recipient) {
	err = t.failure(t.p, err, false)
	t.report(t.p, Outcome{Err: err, Reply: AsFailure(err).Reply}, recipients...)
}

// finish ends the transaction, with the message if the hop wants it.
func (t *transaction) finish() error {
	data := t.data
	switch {
	case data == nil: // nobody was accepted
		return nil
	case data.code == 354 && len(t.accepted) == 0 && t.hop.options.LMTP: // there would be no reply
		return goneError{errors.New("DATA: the next hop wants a message for nobody")}
	case data.code == 354 && len(t.accepted) == 0:
		return t.sendNothing()
	case data.code == 354:
		return t.send()
	case len(t.accepted) == 0: // it goes without saying
		return nil
	case len(t.accepted) > 1 && (data.code/100 == 5 || data.negative() && tooMany(data.smtp())):
		// Some hops say only here that there are too many.
		t.limit = len(t.accepted) / 2
		return nil
	case data.negative():
		t.refuse(refused("DATA", *data), t.accepted...)
		return nil
	}
	return refused("DATA", *data)
}

// sendNothing ends a message that goes to nobody, which a hop that was told all at once may ask for (RFC 2920
// section 3.1).
func (t *transaction) sendNothing() error {
	r, err := t.p.ask(".", t.hop.options.End)
	if err != nil || r.code == 421 {
		return goneError{errors.Join(errors.New("end of an empty message"), err)}
	}
	t.p.dirty = false
	return nil
}

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

// early is the end of a hop that does not want all of a message, which it may have said before it went.
func (t *transaction) early(cause error) error {
	r, err := t.p.reply(min(earlyTimeout, t.hop.options.Command))
	if err != nil || !r.negative() {
		return fmt.Errorf("message: %w", cause)
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
