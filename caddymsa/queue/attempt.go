package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"go.uber.org/zap"
)

// attempt is one worker's work: one attempt at all of an entry's pending
// recipients, for one generation.
type attempt struct {
	q        *Queue
	lease    Lease
	e        *Entry
	ctx      context.Context // ends when the generation must be left
	g        Generation
	schedule Schedule

	hostname string
	parts    []*part
}

// part is those recipients of an entry that one sink takes, or that none takes.
type part struct {
	sink       Sink // nil: err says why
	name       string
	recipients []*Recipient
	err        error
	Attempt
}

// run makes the attempt and records what came of it.
func (a *attempt) run(release func()) {
	a.hostname = a.g.Hostname(a.e)
	a.route()
	for _, p := range a.parts {
		a.deliver(p)
	}
	release() // what follows calls no module
	a.conclude()
}

// route sorts the pending recipients by the sinks that take them.
func (a *attempt) route() {
	for i := range a.e.Recipients {
		r := &a.e.Recipients[i]
		if r.State != Pending {
			continue
		}
		sink, name, err := a.routeOne(r)
		p := a.part(sink, name, err)
		p.recipients = append(p.recipients, r)
	}
}

func (a *attempt) routeOne(r *Recipient) (sink Sink, name string, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			sink, name, err = nil, "", a.panicked("a route", cause)
		}
	}()
	sink, name, err = a.g.Route(a.e, r)
	if err == nil && sink == nil {
		err = ErrNoRoute
	}
	if err != nil {
		return nil, "", err
	}
	return sink, name, nil
}

// part finds the part that a recipient belongs to, or begins it.
func (a *attempt) part(sink Sink, name string, err error) *part {
	for _, p := range a.parts {
		if p.name == name && same(p.sink, sink) && (err == nil || p.err != nil && p.err.Error() == err.Error()) {
			return p
		}
	}
	p := &part{sink: sink, name: name, err: err}
	a.parts = append(a.parts, p)
	return p
}

// same reports whether two sinks are one. Those that cannot be compared, such as
// functions, never are.
func same(a, b Sink) (is bool) {
	defer func() { _ = recover() }()
	return a == b
}

// deliver makes the attempt at one part.
func (a *attempt) deliver(p *part) {
	p.Attempt = Attempt{Entry: a.e, Route: p.name, Results: make([]Result, len(p.recipients))}
	d := NewDelivery(a.e, p.recipients, a.lease.Open)
	err := p.err
	if p.sink != nil {
		start := time.Now()
		if err = a.ctx.Err(); err == nil {
			for _, r := range p.recipients {
				r.RemoteMTA = ""
			}
			err = a.call(p.sink, d)
		}
		p.Duration = time.Since(start)
	}
	for i, r := range p.recipients {
		p.Results[i] = Result{Recipient: r, Err: d.Outcome(r, err)}
		p.Results[i].Outcome = outcome(p.Results[i].Err)
		if p.Results[i].Outcome == OutcomeDeferred && p.sink != nil && a.ctx.Err() != nil {
			p.Results[i].Outcome = OutcomeInterrupted
		}
	}
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
