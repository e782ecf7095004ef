package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
)

// conclude turns the results of an attempt into what the entry now is, and
// records that.
func (a *attempt) conclude() {
	at := now()
	tried, interrupted := a.settle(at)
	if tried && !interrupted {
		a.e.Attempts++
	}
	if a.e.Bounce && a.noRoute() { // nobody else would ever learn of it
		a.e.Held = "no route takes this bounce: configure bounces or a route for its recipient, and release it"
	}
	a.plan(at)
	for _, p := range a.parts {
		a.logPart(p)
		a.q.opts.Observer.Attempted(&p.Attempt)
	}
	late := a.late(at)
	if !tried && len(late) == 0 {
		a.giveBack(at)
		return
	}
	if a.e.Held != "" {
		a.q.log.Error("bounce on hold", zap.String(fieldQueueID, a.e.ID), zap.String(fieldReason, a.e.Held))
		a.q.opts.Observer.Held(a.e)
	}
	if a.stays() {
		a.remember(at)
	}
	a.giveUp(at)
	a.tellSuccess(at)
	a.warn(late, at)
	a.bury(at)
	a.record()
}

// settle notes each result in its recipient and says whether any of them counts, and whether
// any was interrupted.
func (a *attempt) settle(at time.Time) (tried, interrupted bool) {
	for _, p := range a.parts {
		expired := !at.Before(a.e.began().Add(p.schedule.Expire))
		for i := range p.Results {
			res := &p.Results[i]
			if res.Outcome == OutcomePostponed && expired {
				res.Outcome = OutcomeDeferred
			}
			res.Recipient.set(res.Outcome, res.Err)
			switch res.Outcome {
			case OutcomeInterrupted:
				interrupted = true
				continue
			case OutcomePostponed:
				continue
			case OutcomeDeferred:
				if expired {
					res.Outcome, res.Err = OutcomeFailed, fmt.Errorf("%w: %w", ErrExpired, res.Err)
					res.Recipient.expire()
				}
			}
			tried = true
			res.Recipient.Attempts++
		}
	}
	return tried, interrupted
}

// plan says when each pending recipient is tried again, and the entry with the first of them.
func (a *attempt) plan(at time.Time) {
	for _, p := range a.parts {
		limit := a.e.began().Add(p.schedule.Expire)
		if told := a.e.began().Add(p.schedule.Warn); p.schedule.Warn > 0 && told.After(at) {
			limit = earlier(limit, told) // the sender hears of the delay in time
		}
		next := p.until // the same for all of them, so that they go together
		for _, res := range p.Results {
			switch res.Outcome {
			case OutcomeInterrupted: // due for the next generation at once
				res.Recipient.Next = at
			case OutcomePostponed:
				if next.IsZero() { // it could not even be parked
					next = at.Add(overflow + time.Duration(a.q.opts.Rand(int64(overflow))))
				}
				res.Recipient.Next = earlier(next, limit)
			case OutcomeDeferred:
				if next.IsZero() {
					next = p.schedule.next(at, limit, res.Recipient.Attempts, a.q.opts.Rand)
				}
				res.Recipient.Next = next
			}
		}
	}
	a.e.Next = time.Time{}
	for i := range a.e.Recipients {
		if r := &a.e.Recipients[i]; r.State == Pending && (a.e.Next.IsZero() || r.Next.Before(a.e.Next)) {
			a.e.Next = r.Next
		}
	}
	for i := range a.e.Recipients {
		if r := &a.e.Recipients[i]; r.State != Pending || r.Next.Equal(a.e.Next) {
			r.Next = time.Time{}
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.After(b) {
		return b
	}
	return a
}

// giveBack ends the lease of an entry about which there is nothing new.
func (a *attempt) giveBack(at time.Time) {
	if p, ok := a.lease.(Postponer); ok && a.e.Next.After(at) {
		p.Postpone(a.e.Next)
		a.q.pace.wait(a.q.leasing)
		return
	}
	if a.e.Next.After(at) {
		a.record() // a spool that cannot keep it in memory
		return
	}
	a.lease.Release()
}

func (a *attempt) noRoute() bool {
	return slices.ContainsFunc(a.parts, func(p *part) bool { return errors.Is(p.err, ErrNoRoute) })
}

// stays tells whether the entry will still be there after this attempt.
func (a *attempt) stays() bool {
	return slices.ContainsFunc(a.e.Recipients, func(r Recipient) bool {
		return r.State == Pending || r.State == Failed && a.schedule.Keep > 0
	})
}

// bury keeps what failed for the operator.
func (a *attempt) bury(at time.Time) {
	keep := time.Duration(0)
	for _, r := range a.e.Recipients {
		if r.State == Pending {
			return
		}
		if r.State == Failed {
			keep = a.schedule.Keep
		}
	}
	if keep > 0 {
		a.e.Dead = at.Add(keep)
		a.e.Next = a.e.Dead
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
			case a.nobodyToTell() != "" || !res.Recipient.wants("FAILURE"):
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
	id, err := a.notify(dsn.Failed, tell, at)
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
	a.e.note(Event{Time: at, What: "bounced", ID: id, Recipients: addressesOf(tell)})
	a.q.log.Warn("sender told of the failure", zap.String(fieldQueueID, a.e.ID), zap.String(fieldBounce, id),
		zap.String(fieldSender, a.e.Sender), zap.Strings(fieldRecipients, addressesOf(tell)))
	a.q.opts.Observer.GaveUp(a.e, tell, id, "")
}

// nobodyToTell is why no notification is sent about the entry, or empty.
func (a *attempt) nobodyToTell() string {
	switch {
	case a.e.Bounce:
		return "a bounce is not bounced"
	case a.e.Sender == "":
		return "the message has no return path"
	case !a.e.ReturnPath:
		return "the return path is not one of the sender's own addresses"
	}
	return ""
}

// drop logs the failure of recipients of which nobody is told.
func (a *attempt) drop(failed []*Recipient) {
	level, reason := zap.ErrorLevel, a.nobodyToTell()
	if reason == "" {
		level, reason = zap.InfoLevel, "the sender asked not to be told"
	}
	a.q.log.Log(level, "failure that nobody is told of", zap.String(fieldQueueID, a.e.ID), zap.String(fieldReason, reason),
		zap.String(fieldSender, a.e.Sender), zap.Strings(fieldRecipients, addressesOf(failed)))
	a.q.opts.Observer.GaveUp(a.e, failed, "", reason)
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
