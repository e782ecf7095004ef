package nexthop

import (
	"errors"

	"github.com/emersion/go-smtp"
)

// transaction is the message on one connection to some of its recipients.
type transaction struct {
	*delivery
	p     *connection
	group []*Recipient

	mail     bool         // MAIL was accepted
	accepted []*Recipient // by RCPT
	over     []overflow   // recipients that may exceed a limit of the hop's
	deferred bool         // a recipient was refused for now
	data     *reply       // to DATA, if that was said
	answered step         // what the last reply was to, and one more
}

type overflow struct {
	recipient *Recipient
	reply     reply
}

// transaction does one, and reports what became of recipients. Those it leaves alone are for the next one.
// After an error the connection cannot be used.
func (d *delivery) transaction(p *connection) error {
	t := &transaction{delivery: d, p: p, group: d.group(p)}
	err := t.envelope()
	switch {
	case err != nil:
	case len(t.accepted) > 0:
	case len(t.over) == 0:
	case !p.frank && p.served > 0:
		err = t.doubtful(refused("RCPT", t.over[0].reply)) // some hops count recipients by connections
	default:
		p.frank = true
	}
	if err == nil {
		t.limits()
		err = t.finish()
	}
	switch {
	case err == nil:
		if t.deferred && len(t.accepted) == 0 && p.served > 0 {
			p.makeshift = true // it may have had its share
		}
		p.served++
		return nil
	case isReadError(err):
		p.ending = true
		return err
	case errors.Is(err, errGone) && t.data == nil && len(t.accepted) > 0:
		t.limit = len(t.accepted) // some hops end the connection where they should say 452
		if t.limit > 1 && t.answered == t.stepData() {
			t.limit /= 2 // or where they should say so to DATA
		}
	}
	p.ending = true
	return d.failure(p, err, false)
}

// doubtful is the error of a hop whose words may have been about a connection that has served: that it was idle for too long,
// has had its share, or is out of step. What it says on a new one counts.
func (t *transaction) doubtful(err error) error {
	if t.p.served == 0 {
		return err
	}
	t.anew = true
	return goneError{err}
}

// limits keeps to the number of recipients that the hop has shown to take. Without one that it took, those
// over the limit have no better chance the next time, and 552 without a word on recipients means what it says: a
// mailbox is full, or the message too large.
func (t *transaction) limits() {
	switch {
	case len(t.over) == 0 || len(t.accepted) == 0:
	case oneDomain.MatchString(t.over[0].reply.smtp().Message):
		t.p.offers.maxDomains = 1
		return
	default:
		t.limit = len(t.accepted)
		return
	}
	for _, o := range t.over {
		e := o.reply.smtp()
		if e.Code == 552 && saysTooMany(e) { // means 452 (RFC 5321 section 4.5.3.1.10)
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
	case data.goesOn() && len(t.accepted) == 0 && t.hop.options.LMTP: // there would be no reply
		return goneError{errors.New("DATA: the next hop wants a message for nobody")}
	case data.goesOn() && len(t.accepted) == 0:
		return t.sendNothing()
	case data.goesOn():
		t.p.frank = false
		return t.send()
	case len(t.accepted) == 0: // it goes without saying
		return nil
	case len(t.accepted) > 1 && (data.code/100 == 5 || data.negative() && tooMany(data.smtp())):
		// Some hops say only here that there are too many.
		t.limit = len(t.accepted) / 2
		return nil
	case data.negative() && (t.p.frank || t.p.served == 0):
		t.p.frank = true
		t.refuse(refused("DATA", *data), t.accepted...)
		return nil
	}
	return t.doubtful(refused("DATA", *data))
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
