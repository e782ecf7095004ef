package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
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
	reserved *placeKey // a turn that the entry was parked for

	hostname string
	parts    []*part
	next     []turn // entries whose turn it is now
}

// part is those recipients of an entry that go to one place, or that no route takes.
type part struct {
	sink        Sink // nil: err says why
	name        string
	destination Destination
	schedule    Schedule
	own         *Schedule // the route's, if it has one
	recipients  []*Recipient
	err         error
	until       time.Time // postponed until then; zero: until there is room
	relayed     map[*Recipient]bool
	Attempt
}

// run makes the attempt and records what came of it.
func (a *attempt) run(release func()) {
	if !a.e.Dead.IsZero() { // it was kept for long enough
		release()
		a.e.Dead = time.Time{}
		a.record()
		return
	}
	a.hostname = a.g.Hostname(a.e)
	a.route()
	for _, p := range a.parts {
		a.deliver(p)
	}
	release() // what follows calls no module
	if !a.park() {
		a.conclude()
	}
	if a.reserved != nil { // it did not go where it was parked for
		a.leave(*a.reserved)
	}
}

// route sorts those pending recipients whose time has come by where they go.
func (a *attempt) route() {
	at := now()
	for i := range a.e.Recipients {
		r := &a.e.Recipients[i]
		if r.State != Pending || r.Next.After(at) && a.e.GivenUp == "" {
			continue
		}
		p := a.part(a.routeOne(r))
		p.recipients = append(p.recipients, r)
	}
}

// routeOne finds out where a recipient goes.
func (a *attempt) routeOne(r *Recipient) (to part) {
	defer func() {
		if cause := recover(); cause != nil {
			to = part{schedule: a.schedule, err: a.panicked("a route", cause)}
		}
	}()
	to.schedule = a.schedule
	if a.e.GivenUp != "" {
		to.err = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: oneLine(a.e.GivenUp)}
		return to
	}
	route, err := a.g.Route(a.e, r)
	if err == nil && route.Sink == nil {
		err = ErrNoRoute
	}
	if err != nil {
		to.err = err
		return to
	}
	to.sink, to.name = route.Sink, route.Name
	if route.Schedule != nil {
		to.schedule, to.own = *route.Schedule, route.Schedule
	}
	if d, ok := route.Sink.(Destinations); ok {
		to.destination = d.Destination(a.e, r)
	}
	return to
}

// part finds the part that goes where this one goes, or begins it.
func (a *attempt) part(to part) *part {
	for _, p := range a.parts {
		if p.name == to.name && p.own == to.own && p.destination == to.destination && same(p.sink, to.sink) &&
			(to.err == nil || p.err != nil && p.err.Error() == to.err.Error()) {
			return p
		}
	}
	a.parts = append(a.parts, &to)
	return &to
}

// same reports whether two sinks are one. Those that cannot be compared, such as
// functions, never are.
func same(a, b Sink) (is bool) {
	defer func() { _ = recover() }()
	return a == b
}

// deliver makes the attempt at one part, if there is room for it where it goes.
func (a *attempt) deliver(p *part) {
	p.Attempt = Attempt{Entry: a.e, Route: p.name, Results: make([]Result, len(p.recipients))}
	d := NewDelivery(a.e, p.recipients, a.lease.Open)
	err, postponed := p.err, false
	if p.sink != nil {
		start := time.Now()
		if err = a.ctx.Err(); err == nil {
			err, postponed = a.visit(p, d)
		}
		p.Duration = time.Since(start)
	}
	p.relayed = d.relayed
	for i, r := range p.recipients {
		p.Results[i] = Result{Recipient: r, Err: d.Outcome(r, err)}
		res := &p.Results[i]
		switch res.Outcome = OutcomeOf(res.Err); {
		case postponed:
			res.Outcome = OutcomePostponed
		case res.Outcome == OutcomeDeferred && p.sink != nil && a.ctx.Err() != nil:
			res.Outcome = OutcomeInterrupted
		}
	}
}

var errBusy = errors.New("as many deliveries to the destination as there may be are under way")

// visit calls the sink when the destination has a turn for it.
func (a *attempt) visit(p *part, d *Delivery) (err error, postponed bool) {
	k, at := keyOf(p), now()
	reserved := a.reserved != nil && *a.reserved == k
	turn := a.q.places.enter(k, p.destination.Concurrency, reserved, at, a.q.opts.Rand)
	if !turn.free {
		if p.until = turn.until; p.until.IsZero() {
			return errBusy, true
		}
		return turn.cause, true
	}
	if reserved {
		a.reserved = nil
	}
	for _, r := range p.recipients {
		r.RemoteMTA = ""
	}
	err = a.call(p.sink, d)
	if a.ctx.Err() != nil {
		a.q.places.abandon(k)
	} else {
		a.q.places.reached(k, err, now(), a.q.opts.Rand)
	}
	a.leave(k)
	return err, false
}

// leave ends a turn; whose turn it is then is this worker's next work.
func (a *attempt) leave(k placeKey) {
	if l := a.q.places.leave(k); l != nil {
		a.next = append(a.next, turn{lease: l, place: &k})
	}
}

// park keeps the entry for its turn if there is nothing else about it to record.
func (a *attempt) park() bool {
	if len(a.parts) != 1 {
		return false
	}
	p := a.parts[0]
	if !p.until.IsZero() || !errors.Is(p.Results[0].Err, errBusy) || p.Results[0].Outcome != OutcomePostponed {
		return false
	}
	return a.q.places.park(keyOf(p), p.destination.Concurrency, a.lease)
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
