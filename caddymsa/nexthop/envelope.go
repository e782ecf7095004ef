package nexthop

import (
	"fmt"
	"time"
)

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

// envelope says MAIL, RCPT and DATA, as many at once as the hop lets be, and takes the replies. A small message does not leave with
// them, as BDAT (RFC 3030) would let it for one round trip less: a hop that hangs before it has answered RCPT would have the message
// when it goes on, and get it again.
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
			t.answered = answered + 1
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
	if p.offers.pipelining {
		t.hop.answers(true)
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
	t.unanswered(err)
	if !t.p.rested && isTimeout(err) { // it is there and does not answer
		return fmt.Errorf("%s: %w", verb, err)
	}
	return goneError{fmt.Errorf("%s: %w", verb, err)}
}

// take notes the reply to a command.
func (t *transaction) take(s step, r reply) error {
	verb, _ := t.command(s)
	switch {
	case t.resentsPipelining(r):
		t.hop.distrust(time.Now())
		return fmt.Errorf("%w: %s: %s", errTooFast, verb, replyText(r.smtp()))
	case r.code == 421 || s == stepReset && !r.positive():
		return goneError{refused(verb, r)}
	case s < t.stepData() && !r.positive() && !r.negative():
		return t.doubtful(refused(verb, r))
	case s == stepMail && r.positive():
		t.mail = true
	case s == stepMail && t.p.served > 0 && !t.p.frank:
		return t.doubtful(refused(verb, r))
	case s == stepMail:
		t.p.frank = true
		if t.plainer(&t.p.offers, r.smtp()) {
			return nil
		}
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
	case t.p.offers.dsn && hasParameters(t.group[s]) && ofParameters(r.smtp()):
		t.plain, t.p.frank = max(t.plain, withoutExtras), true
	case tooMany(r.smtp()):
		t.over = append(t.over, overflow{t.group[s], r})
	default:
		t.deferred = t.deferred || r.code/100 == 4
		t.refuse(refused(verb, r), t.group[s])
	}
	return nil
}
