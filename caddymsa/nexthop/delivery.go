package nexthop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"
)

// delivery is a message on its way to one hop: as many transactions as the hop's limits want, on one
// connection where it lets that live.
type delivery struct {
	hop *Hop
	ctx context.Context
	m   *Message

	message io.ReadSeekCloser
	eight   *bits // octets over 127 in it; nil: nobody wanted to know
	limit   int   // recipients that the hop takes at once, as it turned out; 0: nothing did

	plain    int    // withAll and so on: how much is not said, as it turned out
	mode     string // of TLS
	anew     bool   // no idle connection will do
	idleEnds int    // connections that ended before they served
}

// maxIdleEnds is how many connections that end before they have served are made one after the other, because each has
// told something.
const maxIdleEnds = 10

type bits struct{ header, body bool }

func (h *Hop) deliver(ctx context.Context, m *Message) (err error) {
	d := &delivery{hop: h, ctx: ctx, m: m, mode: h.options.TLSMode}
	if len(m.Recipients) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return d.failure(nil, err, false)
	}
	if d.message, err = m.Open(); err != nil {
		return readError{fmt.Errorf("open message: %w", err)}
	}
	defer d.message.Close()
	hello := h.options.Helo
	if hello == "" {
		hello = m.Hello
	}
	if hello == "" {
		hello = "localhost"
	}
	for {
		var p *connection
		if !d.anew {
			p = h.idle.get(hello)
		}
		if p == nil {
			if p, err = h.dial(ctx, hello, d.mode); err != nil {
				if d.anew { // the hop has spoken a moment ago: this says nothing of its lane
					err = goneError{err}
				}
				return d.failure(nil, err, ctx.Err() == nil && !d.anew)
			}
		}
		left, limit, plain := len(m.Recipients), d.limit, d.plain
		err := d.use(p)
		if len(m.Recipients) == 0 {
			return nil
		}
		// A connection that ends after it has served, or told something, is replaced; another one is an error.
		if err != nil && (!errors.Is(err, errGone) || ctx.Err() != nil || p.served == 0 && !d.told(p, left, limit, plain)) {
			return err
		}
	}
}

// told tells whether the next connection will get further than one that ended before it served: that has refused some
// of the recipients that there were, has shown how many it takes or which parameters it does not, or has refused TLS and
// wants no more of us.
func (d *delivery) told(p *connection, left, limit, plain int) bool {
	if d.idleEnds++; d.idleEnds > maxIdleEnds {
		return false
	}
	if p.spurned && d.mode == TLSOpportunistic {
		d.mode = TLSOff
		return true
	}
	return len(d.m.Recipients) < left || d.limit != limit || d.plain != plain
}

// use sends what it can on a connection, and keeps or closes that.
func (d *delivery) use(p *connection) error {
	release := p.abortWith(d.ctx)
	err := d.admit(p)
	d.settle()
	for err == nil && len(d.m.Recipients) > 0 && d.takes(p) {
		plain := d.plain
		err = d.transaction(p)
		d.settle()
		if err == nil && d.plain != plain {
			err = d.admit(p)
			d.settle()
		}
	}
	alive := release()
	if broken := p.ending || !alive || err != nil && !isReadError(err); !broken && !p.makeshift && d.takes(p) && p.r.Buffered() == 0 {
		d.hop.idle.put(p)
	} else {
		p.close(!broken)
	}
	return err
}

// takes tells whether the connection takes another transaction.
func (d *delivery) takes(p *connection) bool {
	return !p.ending && fits(p.begun, d.hop.options.Messages) && fits(p.begun, p.offers.maxMails)
}

func fits(n, limit int) bool { return limit <= 0 || n < limit }

// errGone is in the error of a connection that ended, or was ended by 421, before anything was taken.
var errGone = errors.New("the connection is over")

type goneError struct{ error }

func (e goneError) Unwrap() error        { return e.error }
func (e goneError) Is(target error) bool { return target == errGone }

// isTimeout tells a deadline's passing from a broken connection.
func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

func isReadError(err error) bool { return errors.As(err, new(readError)) }

// failure makes a Failure of what ended a connection, or kept it from being there.
func (d *delivery) failure(p *connection, err error, lane bool) error {
	f := &Failure{Where: d.where(p), Lane: lane, Elsewhere: errors.Is(err, errGone)}
	if refusal, ok := errors.AsType[*refusal](err); ok {
		f.Reply = refusal.reply
		doubtful := errors.Is(err, errGone) && d.ctx.Err() != nil // no new connection is asked what it says
		if f.Lane = f.Lane || isOurs(refusal.reply); !f.Lane && !doubtful {
			// The message's, or its sender's: whoever reads the error finds the reply in it.
			f.what, err = refusal.what, markedLike(err, refusal.reply)
		}
	}
	f.err = interrupted(d.ctx, err)
	f.Elsewhere = f.Elsewhere || f.Lane
	if d.ctx.Err() != nil { // that is all it tells
		f.Lane, f.Elsewhere = false, false
	}
	return f
}

// markedLike is the reply, gone if err was.
func markedLike(err error, reply *smtp.SMTPError) error {
	if errors.Is(err, errGone) {
		return goneError{reply}
	}
	return reply
}

// isOurs tells a reply that wants another log-in than ours, which is not the message's fault.
func isOurs(reply *smtp.SMTPError) bool {
	switch reply.Code {
	case 530, 534, 535, 538:
		return true
	}
	return false
}

func (d *delivery) where(p *connection) Where {
	w := Where{Host: d.hop.Host, Address: d.hop.Address}
	if p != nil {
		w.Address, w.TLS = p.address, p.tls
	}
	return w
}

// report tells what became of recipients, who are no longer the message's after settle.
func (d *delivery) report(p *connection, o Outcome, recipients ...*Recipient) {
	o.Where = d.where(p)
	for _, r := range recipients {
		r.done = true
		d.m.Report(r, o)
	}
}

func (d *delivery) settle() {
	d.m.Recipients = slices.DeleteFunc(d.m.Recipients, func(r *Recipient) bool { return r.done })
}

// admit reports those recipients that the hop cannot take, going by what it offers.
func (d *delivery) admit(p *connection) error {
	m, x := d.m, &p.offers
	d.plainly(p)
	none := func(code int, status smtp.EnhancedCode, text string) error {
		d.unfit(p, code, status, text, m.Recipients)
		return nil
	}
	if x.size > 0 && m.Options.Size > x.size {
		return none(552, smtp.EnhancedCode{5, 3, 4}, "Message is larger than the next hop takes")
	}
	if hasControl(m.Sender) {
		return none(553, smtp.EnhancedCode{5, 1, 7}, "The sender's address cannot be written in a command")
	}
	international := m.Options.UTF8 && !x.utf8
	eightBit := x.eightBit || m.Options.UTF8 && x.utf8 // who offers SMTPUTF8 takes it (RFC 6531 section 3.1)
	if !eightBit || international {
		if err := d.scan(); err != nil {
			return err
		}
		switch {
		case international && (d.eight.header || !isASCII(m.Sender)):
			return none(550, smtp.EnhancedCode{5, 6, 7}, "The next hop takes no internationalized mail")
		case !eightBit && (d.eight.header || d.eight.body):
			return none(554, smtp.EnhancedCode{5, 6, 3}, "The next hop takes no 8-bit mail, and it is not converted")
		}
	}
	var odd, foreign []*Recipient
	for _, r := range m.Recipients {
		if hasControl(r.Address) {
			odd = append(odd, r)
		} else if !x.utf8 && !isASCII(r.Address) {
			foreign = append(foreign, r)
		}
	}
	d.unfit(p, 553, smtp.EnhancedCode{5, 1, 3}, "The address cannot be written in a command", odd)
	d.unfit(p, 553, smtp.EnhancedCode{5, 6, 7}, "The next hop takes no internationalized addresses", foreign)
	return nil
}

// unfit reports what we know without asking.
func (d *delivery) unfit(p *connection, code int, status smtp.EnhancedCode, text string, recipients []*Recipient) {
	if p.guessed && status[1] == 6 { // of which it has said nothing
		code, status[0], text = 451, 4, text+", as long as it hangs up on EHLO"
	}
	if len(recipients) > 0 {
		d.report(p, Outcome{Err: &smtp.SMTPError{Code: code, EnhancedCode: status, Message: text}}, recipients...)
	}
}

// scan finds out whether there are octets over 127 in the message.
func (d *delivery) scan() error {
	if d.eight != nil {
		return nil
	}
	header, body, err := scan(d.message)
	if err != nil {
		return readError{fmt.Errorf("read message: %w", err)}
	}
	d.eight = &bits{header, body}
	return nil
}

// group returns the recipients of the next transaction.
func (d *delivery) group(p *connection) []*Recipient {
	all := d.m.Recipients
	n := len(all)
	for _, limit := range []int{d.limit, d.hop.options.Recipients, p.offers.maxRecipients} {
		if limit > 0 {
			n = min(n, limit)
		}
	}
	if p.offers.maxDomains <= 0 {
		return slices.Clone(all[:n])
	}
	var group []*Recipient
	domains := make(map[string]bool)
	for _, r := range all {
		if len(group) == n {
			break
		}
		if r.domain == "" {
			r.domain = strings.ToLower(r.Address[strings.LastIndexByte(r.Address, '@')+1:])
		}
		if domains[r.domain] || len(domains) < p.offers.maxDomains {
			domains[r.domain] = true
			group = append(group, r)
		}
	}
	return group
}
