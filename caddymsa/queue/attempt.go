package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
)

// attempt is one worker's work on a job, for one generation.
type attempt struct {
	q        *Queue
	lease    Lease
	e        *Entry // with the server whose routes take it
	job      *Job
	status   *Status
	g        Generation
	schedule Schedule
	hostname string
	ctx      context.Context
	recall   recall

	Attempt
	to       Route
	visited  *Delivery  // nil without a visit
	before   *time.Time // the attempt before this one, which makes none; nil: it does
	rec      Record
	failures []*Recipient // of which nobody is told
	refused  []*Recipient // of a notification that is sent again, smaller
}

// work does what there is to do about a job.
func (q *Queue) work(lease Lease, g Generation, interrupt <-chan struct{}) {
	a := &attempt{q: q, lease: lease, e: lease.Entry(), job: lease.Job(), status: lease.Status(), g: g, schedule: g.Schedule()}
	a.e = a.status.rerouted(a.e, a.job)
	a.rec.At = now()
	a.ctx = a.recall.begin(&q.recalls, interrupt, lease.Lost(), g.Settings().Grace)
	defer a.recall.leave()
	switch a.job.Kind {
	case Bury:
		a.rec.Remove = true
		a.record()
	case Notify:
		a.tell()
	default:
		a.deliver()
	}
}

// deliver makes an attempt at the job's recipients, unless there is no more time for one, or
// they turn out to go elsewhere.
func (a *attempt) deliver() {
	at := a.rec.At
	a.hostname = a.g.Hostname(a.e)
	if a.e.Accepted.After(at) && a.status.Since.IsZero() { // the clock was ahead then
		a.status = a.status.Clone()
		a.status.Since, a.rec.Since = at, at
	}
	if a.givenUp() != "" {
		a.giveUpAll()
		return
	}
	groups := a.routeAll()
	if a.othersRoute(groups, at) {
		a.q.lanes.leaveToOthers(a.job.Lane, at)
		a.lease.Release()
		return
	}
	if len(groups) != 1 || groups[0].Lane != a.job.Lane || a.job.Lane == "" && groups[0].err == nil {
		if a.refile(groups) {
			return
		}
	}
	g := groups[0]
	a.to = g.Route
	if !a.q.newer(a.job, a.g) {
		a.job.Stamp = a.g.Stamp()
	}
	if g.Schedule != nil {
		a.schedule = *g.Schedule
	}
	a.Attempt = Attempt{Entry: a.e, Copy: a.job.Copy, Route: g.Name, Lane: g.Lane}
	leasedBy := a.job.Deadline
	if a.overdue(at) {
		return
	}
	if g.err != nil {
		a.ourselves()
		a.results(func(*Recipient) error { return g.err })
		a.conclude()
		return
	}
	v, err := a.q.lanes.enter(g.Lane, g.Destination, at)
	if err != nil && !leasedBy.IsZero() && !leasedBy.After(at) { // or it would be leased again at once
		a.rec.Jobs = []Job{*a.job}
		a.record()
		return
	}
	if err != nil {
		a.lease.Release()
		return
	}
	a.visit(v)
	a.conclude()
}

// visit calls the sink.
func (a *attempt) visit(v *visit) {
	pending := a.pending()
	d := NewDelivery(a.e, pending, func() (io.ReadSeekCloser, error) { return a.lease.Open(a.ctx) })
	d.Attempt, d.Hostname, d.Copy = a.job.Attempts+1, a.hostname, a.job.Copy
	d.OnFinal(a.recall.final)
	a.ourselves()
	start := time.Now()
	err := a.call(a.to.Sink, d)
	a.Duration = time.Since(start)
	a.visited = d
	cut := a.recall.cut()
	a.results(func(r *Recipient) error { return d.Outcome(r, err) })
	for i := range a.Results {
		if res := &a.Results[i]; res.Outcome == OutcomeDeferred && cut {
			res.Outcome = OutcomeInterrupted
		}
	}
	a.q.lanes.leave(v, d.found(a.e.User, err, cut), now())
}

// pending are the job's recipients to deliver to.
func (a *attempt) pending() (all []*Recipient) {
	for i := range a.job.Recipients {
		if r := &a.job.Recipients[i]; r.State == Pending {
			all = append(all, r)
		}
	}
	return all
}

// ourselves forgets which next hop spoke last of the recipients: it is this server that speaks now, until another does.
func (a *attempt) ourselves() {
	for _, r := range a.pending() {
		r.RemoteMTA = ""
	}
}

// results notes what became of each pending recipient.
func (a *attempt) results(outcome func(*Recipient) error) {
	for _, r := range a.pending() {
		res := Result{Recipient: r, Err: outcome(r)}
		res.Outcome = OutcomeOf(res.Err)
		if a.visited != nil {
			res.Answer = a.visited.AnswerOf(r)
		}
		a.Results = append(a.Results, res)
	}
}

// othersRoute tells whether a node with a newer configuration has routed the job to where this one's would not: it is
// such a node's then, as long as there is one that takes it.
func (a *attempt) othersRoute(groups []*group, at time.Time) bool {
	return a.q.newer(a.job, a.g) && len(groups) > 0 && (len(groups) > 1 || groups[0].Lane != a.job.Lane) &&
		at.Sub(a.job.Due) < newerPatience && (a.job.Deadline.IsZero() || a.job.Deadline.After(at))
}

// group is a job's recipients that go together.
type group struct {
	Route
	err  error // nothing takes them, or that cannot be told now
	rcpt []Recipient
}

// refile gives the recipients to the lanes that they go to, where their turn comes; no attempt is
// counted. It returns false when there is but one group, which nothing takes: that is an attempt.
func (a *attempt) refile(groups []*group) bool {
	if len(groups) == 0 { // nothing is pending
		a.rec.Jobs = []Job{*a.job}
		a.record()
		return true
	}
	if len(groups) == 1 && groups[0].err != nil {
		a.job.Lane = ""
		return false
	}
	a.rec.Jobs = a.split(groups)
	a.record()
	return true
}

// split makes a job of each group, the first of which stays what it was.
func (a *attempt) split(groups []*group) (jobs []Job) {
	for i, g := range groups {
		j := *a.job
		j.Lane, j.Stamp, j.Recipients = g.Lane, a.g.Stamp(), g.rcpt
		if g.err != nil {
			j.Stamp = ""
		}
		if i == 0 {
			j.History = slices.Clone(j.History)
			for _, r := range a.job.Recipients { // what has ended stays with it
				if r.State != Pending {
					j.Recipients = append(j.Recipients, r)
				}
			}
		} else {
			j.Number, j.History = 0, nil
		}
		schedule := a.g.Schedule()
		if g.Schedule != nil {
			schedule = *g.Schedule
		}
		if j.Due.After(a.rec.At) && a.job.Lane != "" {
			j.Due = a.rec.At // it waited for another place
		}
		j.Deadline = a.deadline(&j, schedule)
		jobs = append(jobs, j)
	}
	return jobs
}

// call is Deliver, where a panic is an error like others.
func (a *attempt) call(sink Sink, d *Delivery) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = a.panicked("a sink", cause)
		}
	}()
	return sink.Deliver(a.ctx, d)
}

var errPanic = errors.New("a module panicked")

// Panicked tells whether an error is what is left of a panic, in a sink or in a spool that is guarded.
func Panicked(err error) bool { return errors.Is(err, errPanic) }

// panicked makes an error of a panic that was recovered and logs where it was.
func (a *attempt) panicked(who string, cause any) error {
	err := fmt.Errorf("%w: %v", errPanic, cause)
	a.q.log.Error(who+" panicked; please report this", zap.String(fieldQueueID, a.e.ID), zap.String(fieldPanicAt, panicAt()), zap.Error(err))
	return err
}

// panicAt is the place of the panic that is being recovered.
func panicAt() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for raised := false; ; {
		f, more := frames.Next()
		inRuntime := strings.HasPrefix(f.Function, "runtime.")
		if raised && !inRuntime {
			return fmt.Sprintf("%s (%s:%d)", f.Function, f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
		}
		raised = raised || inRuntime
		if !more {
			return ""
		}
	}
}

// giveUpAll fails what is pending because the operator said so.
func (a *attempt) giveUpAll() {
	err := &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: oneLine(a.status.GivenUp)}
	a.Attempt = Attempt{Entry: a.e, Lane: a.job.Lane}
	a.ourselves()
	a.results(func(*Recipient) error { return err })
	a.conclude()
}
