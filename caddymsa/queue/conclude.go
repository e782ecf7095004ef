package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

var errExpired = errors.New("delivery time expired")

// conclude turns the results of an attempt into what the entry now is, and
// records that.
func (a *attempt) conclude() {
	counts, interrupted := false, false
	for _, p := range a.parts {
		for _, res := range p.Results {
			res.Recipient.set(res.Outcome, res.Err)
			if res.Outcome == OutcomeInterrupted {
				interrupted = true
			} else {
				counts = true
			}
		}
	}
	at := now()
	switch {
	case interrupted: // due for the next generation at once
		a.e.Next = at
	case a.e.Bounce && a.noRoute(): // nobody else would ever learn of it
		a.e.Attempts++
		a.e.Held = "no route takes this bounce: configure bounces or a route for its recipient, and release it"
	default:
		a.e.Attempts++
		limit := a.e.Accepted.Add(a.schedule.Expire)
		if !at.Before(limit) {
			a.expire()
		}
		a.e.Next = a.schedule.next(at, limit, a.e.Attempts, a.q.opts.Rand)
	}
	for _, p := range a.parts {
		a.logPart(p)
		a.q.opts.Observer.Attempted(&p.Attempt)
	}
	if !counts {
		a.lease.Release()
		return
	}
	if a.e.Held != "" {
		a.q.log.Error("bounce on hold", zap.String(fieldQueueID, a.e.ID), zap.String(fieldReason, a.e.Held))
		a.q.opts.Observer.Held(a.e)
	}
	a.giveUp(at)
	a.record()
}

func (a *attempt) noRoute() bool {
	return slices.ContainsFunc(a.parts, func(p *part) bool { return errors.Is(p.err, ErrNoRoute) })
}

// expire fails what is still pending.
func (a *attempt) expire() {
	for _, p := range a.parts {
		for i := range p.Results {
			if res := &p.Results[i]; res.Outcome == OutcomeDeferred {
				res.Outcome, res.Err = OutcomeFailed, fmt.Errorf("%w: %w", errExpired, res.Err)
				res.Recipient.expire()
			}
		}
	}
}

// giveUp tells the sender of what failed for good, once for all of it, or logs
// why nobody is told.
func (a *attempt) giveUp(at time.Time) {
	var tell, silent []*Recipient
	for _, p := range a.parts {
		for _, res := range p.Results {
			switch {
			case res.Outcome != OutcomeFailed:
			case a.e.Bounce || a.e.Sender == "" || !a.e.ReturnPath || !res.Recipient.wantsFailure():
				silent = append(silent, res.Recipient)
			default:
				tell = append(tell, res.Recipient)
			}
		}
	}
	if len(silent) > 0 {
		a.drop(silent)
	}
	if len(tell) == 0 {
		return
	}
	id, err := a.bounce(tell, at)
	if err != nil {
		// The sender must learn of it: fail again later.
		for _, r := range tell {
			r.State = Pending
		}
		a.e.Next = a.schedule.next(at, at, a.e.Attempts, a.q.opts.Rand)
		a.q.log.Error("a bounce cannot be stored; delivery is tried once more instead", zap.String(fieldQueueID, a.e.ID),
			zap.Time(fieldNext, a.e.Next), zap.Error(err))
		return
	}
	a.q.log.Warn("sender told of the failure", zap.String(fieldQueueID, a.e.ID), zap.String(fieldBounce, id),
		zap.String(fieldSender, a.e.Sender), zap.Strings(fieldRecipients, addressesOf(tell)))
	a.q.opts.Observer.GaveUp(a.e, tell, id, "")
}

// drop logs the failure of recipients of which nobody is told.
func (a *attempt) drop(failed []*Recipient) {
	level, reason := zap.ErrorLevel, "the sender asked not to be told"
	switch {
	case a.e.Bounce:
		reason = "a bounce is not bounced"
	case a.e.Sender == "":
		reason = "the message has no return path"
	case !a.e.ReturnPath:
		reason = "the return path is not one of the sender's own addresses"
	default:
		level = zap.InfoLevel
	}
	a.q.log.Log(level, "failure that nobody is told of", zap.String(fieldQueueID, a.e.ID), zap.String(fieldReason, reason),
		zap.String(fieldSender, a.e.Sender), zap.Strings(fieldRecipients, addressesOf(failed)))
	a.q.opts.Observer.GaveUp(a.e, failed, "", reason)
}

// wantsFailure is what NOTIFY says of failures (RFC 3461 section 4.1); without it
// they are wanted.
func (r *Recipient) wantsFailure() bool {
	return len(r.Notify) == 0 || slices.Contains(r.Notify, "FAILURE")
}

// record ends the lease. The outcome is known, so nothing may interrupt it.
func (a *attempt) record() {
	err := a.lease.Record(context.Background(), a.e)
	if err == nil {
		return
	}
	a.q.log.Error("the outcome of an attempt cannot be recorded; it may be repeated", zap.String(fieldQueueID, a.e.ID), zap.Error(err))
	pause := time.NewTimer(troublePause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-a.q.leasing.Done():
	}
	a.lease.Release()
}
