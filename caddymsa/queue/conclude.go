package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

const (
	// notesWait is how long what the sender is to be told waits for more of it.
	notesWait = 2 * time.Minute
	// lastChance is how long a message whose time is over waits for its last attempt, where the
	// lane is not down and the one before was longer ago.
	lastChance = 10 * time.Minute
	// recordPause is the wait before an outcome that could not be recorded is tried again.
	recordPause = 2 * time.Second
)

// began is from when Expire and Warn count.
func (a *attempt) began() time.Time {
	if !a.status.Since.IsZero() {
		return a.status.Since
	}
	return a.e.Accepted
}

func (a *attempt) expires(s Schedule) time.Time { return a.began().Add(s.Expire) }

// deadline is the next time at which the job is looked at whatever its lane says.
func (a *attempt) deadline(j *Job, s Schedule) time.Time {
	if j.Last {
		return j.Deadline
	}
	expires := a.expires(s)
	if warns := a.began().Add(s.Warn); s.Warn > 0 && !j.Warned && warns.Before(expires) && a.wantsWarning(j) {
		return warns
	}
	return expires
}

func (a *attempt) wantsWarning(j *Job) bool {
	return j.Copy == "" && a.nobodyToTell() == "" && slices.ContainsFunc(j.Recipients, func(r Recipient) bool { return r.State == Pending && r.wants("DELAY") })
}

// overdue does what a deadline is for, without a visit. It returns false when there is to be one.
func (a *attempt) overdue(at time.Time) bool {
	j := a.job
	if d := a.deadline(j, a.schedule); !d.Equal(j.Deadline) && !j.Last { // the schedule is another one
		j.Deadline = d
	}
	if j.Deadline.After(at) {
		return false
	}
	tried := j.Tried
	if at.Before(a.expires(a.schedule)) {
		a.before = &tried
		a.warn(at)
		j.Deadline = a.deadline(j, a.schedule)
		a.rec.Jobs = []Job{*j}
		a.record()
		return true
	}
	blocked, asked := a.q.lanes.blocked(j.Lane), a.status.Asked
	switch {
	case j.Last && !j.Deadline.After(at) && !asked.After(j.Deadline), blocked != nil, j.Lane == "",
		!j.Tried.IsZero() && at.Sub(j.Tried) < lastChance && !asked.After(j.Tried):
	case j.Last && j.Deadline.After(at):
		return false
	default: // such as after a server was down for days
		j.Last, j.Due, j.Deadline = true, at, at.Add(lastChance)
		a.rec.Jobs = []Job{*j}
		a.record()
		return true
	}
	a.before = &tried
	a.results(func(r *Recipient) error { return &notVisited{r.Error, blocked} })
	a.conclude()
	return true
}

// notVisited is the error of a recipient that was given up without another attempt: that of the
// last one, or of the lane.
type notVisited struct {
	before string
	lane   error
}

func (n *notVisited) Error() string {
	switch {
	case n.lane != nil:
		return n.lane.Error()
	case n.before != "":
		return n.before
	}
	return "it was not its turn in time"
}

func (n *notVisited) Unwrap() error { return n.lane }

// conclude turns the results of an attempt into what the job now is, and records that.
func (a *attempt) conclude() {
	at := now()
	a.rec.At = at
	expired := !at.Before(a.expires(a.schedule)) && !a.held()
	tried, interrupted := false, false
	for i := range a.Results {
		res := &a.Results[i]
		if res.Outcome == OutcomeInterrupted {
			interrupted = true
			continue
		}
		if _, silent := res.Err.(*notVisited); !silent || res.Recipient.Error == "" {
			res.Recipient.set(res.Outcome, res.Err)
		}
		if res.Outcome == OutcomeDeferred && expired {
			res.Outcome, res.Err = OutcomeFailed, fmt.Errorf("%w: %w", ErrExpired, res.Err)
			res.Recipient.expire()
		}
		tried = true
	}
	if tried && !interrupted {
		a.job.Attempts++
		a.job.Tried = at
	}
	if a.e.Bounce && a.job.Copy == "" && a.noRoute() { // nobody else would ever learn of it
		a.rec.Hold = "no route takes this bounce: configure bounces or a route for its recipient, and release it"
	}
	a.plan(at, interrupted)
	a.log()
	a.q.opts.Observer.Attempted(&a.Attempt)
	if a.rec.Hold != "" {
		a.q.log.Error("bounce on hold", zap.String(fieldQueueID, a.e.ID), zap.String(fieldReason, a.rec.Hold))
		a.q.opts.Observer.Held(a.e, a.rec.Hold)
	}
	a.remember(at)
	a.noteOutcomes(at)
	a.keep(at)
	if a.job.Copy == "" {
		a.noteFailures(at)
		a.noteSuccess(at)
	}
	if a.job.Pending() && !interrupted && a.schedule.Warn > 0 && !at.Before(a.began().Add(a.schedule.Warn)) {
		a.warn(at)
	}
	if a.job.Pending() {
		a.job.Deadline = a.deadline(a.job, a.schedule)
	}
	a.rec.Jobs = []Job{*a.job}
	if a.record() && len(a.failures) > 0 {
		a.drop(a.failures)
	}
}

// held tells whether the message was put on hold during the attempt: it does not expire then, for whoever releases it
// wants it tried.
func (a *attempt) held() bool {
	if a.visited == nil { // it was leased a moment ago
		return false
	}
	m, err := a.q.spool.Get(a.q.attempts, a.e.ID)
	return err == nil && m.Status.Held != ""
}

// plan says when what is still pending is tried again.
func (a *attempt) plan(at time.Time, interrupted bool) {
	if !a.job.Pending() {
		return
	}
	if interrupted { // due for the next generation at once
		a.job.Due = at
		return
	}
	if a.allUnreachable() {
		a.job.Due = at // as soon as the lane is up again; its next probe is another message
		return
	}
	a.job.Due = a.schedule.next(at, a.expires(a.schedule), a.job.Attempts, a.q.opts.Rand)
}

func (a *attempt) allUnreachable() bool {
	return a.job.Lane != "" && !slices.ContainsFunc(a.Results, func(r Result) bool { return r.Outcome == OutcomeDeferred && !IsUnreachable(r.Err) }) &&
		a.q.lanes.blocked(a.job.Lane) != nil
}

func (a *attempt) noRoute() bool {
	return slices.ContainsFunc(a.Results, func(r Result) bool { return errors.Is(r.Err, ErrNoRoute) })
}

// remember adds the attempt to the job's history, one event for recipients that fared alike.
func (a *attempt) remember(at time.Time) {
	eachAlike(a.Results, func(alike []Result) {
		first := alike[0]
		if first.Outcome == OutcomeInterrupted {
			return
		}
		v := Event{Time: at, What: string(first.Outcome), Copy: a.job.Copy, Route: a.Route, RemoteMTA: first.Recipient.RemoteMTA, Text: said(alike), Answer: first.Answer}
		if v.Text == "" {
			v.Text = oneLine(first.Answer.Reply)
		}
		v.Answer.Reply = ""
		for _, res := range alike {
			v.To = append(v.To, res.Recipient.Index)
		}
		slices.Sort(v.To)
		a.job.History = addEvent(a.job.History, v)
	})
}

// keep has what failed for good stay as a dead letter, where the schedule says so.
func (a *attempt) keep(at time.Time) {
	if a.schedule.Keep > 0 && slices.ContainsFunc(a.Results, func(r Result) bool { return r.Outcome == OutcomeFailed }) {
		a.rec.Keep = at.Add(a.schedule.Keep)
	}
}

// noteFailures notes for the sender what failed for good, or why nobody is told.
func (a *attempt) noteFailures(at time.Time) {
	var tell, refused []*Recipient
	for _, res := range a.Results {
		switch {
		case res.Outcome != OutcomeFailed:
			continue
		case a.e.Bounce && a.status.GivenUp == "" && res.Recipient.refusedForContent():
			refused = append(refused, res.Recipient)
		case a.nobodyToTell() != "" || !res.Recipient.wants("FAILURE"):
			a.failures = append(a.failures, res.Recipient)
		default:
			tell = append(tell, res.Recipient)
		}
	}
	a.failures = append(a.failures, a.tellSmaller(at, refused)...)
	a.note(dsn.Failed, tell, at)
	if len(a.failures) > 0 {
		a.noteAbout(journal.Untold, a.failures, "", a.whyUntold(), at)
	}
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

// whyUntold is why nobody is told of a failure.
func (a *attempt) whyUntold() string {
	return cmp.Or(a.nobodyToTell(), askedNotToBeTold)
}

const askedNotToBeTold = "the sender asked not to be told"

// drop logs the failure of recipients of which nobody is told.
func (a *attempt) drop(failed []*Recipient) {
	level, reason := zap.ErrorLevel, a.whyUntold()
	if reason == askedNotToBeTold {
		level = zap.InfoLevel
	}
	a.q.log.Log(level, "failure that nobody is told of", zap.String(fieldQueueID, a.e.ID), zap.String(fieldReason, reason),
		zap.String(fieldSender, a.e.Sender), zap.Strings(fieldRecipients, addressesOf(failed)))
	a.q.opts.Observer.GaveUp(a.e, failed, "", reason)
}

// record ends the lease. The outcome is known, so nothing interrupts it: while the spool cannot
// take it, it is kept and tried again, until the lease is lost or the queue is stopped.
func (a *attempt) record() bool {
	for told := false; ; told = true {
		err := a.lease.Record(context.Background(), &a.rec)
		switch {
		case err == nil:
			return true
		case errors.Is(err, ErrLost):
			a.q.log.Warn("the outcome of an attempt came too late: another node has taken over", zap.String(fieldQueueID, a.e.ID))
			return false
		case errors.Is(err, ErrLeaseEnded):
			return false
		case !told:
			a.q.log.Error("the outcome of an attempt cannot be recorded yet", zap.String(fieldQueueID, a.e.ID), zap.Error(err))
		}
		a.smallerAgain()
		pause := time.NewTimer(recordPause)
		select {
		case <-pause.C:
			continue
		case <-a.q.attempts.Done():
		}
		pause.Stop()
		if err = a.lease.Record(context.Background(), &a.rec); err == nil {
			return true
		}
		a.q.log.Error("the outcome of an attempt was not recorded; the attempt may be repeated", zap.String(fieldQueueID, a.e.ID), zap.Error(err))
		a.lease.Release()
		return false
	}
}
