package queue

import "context"

// Jobs are those that a new message begins with: recipients of one lane and schedule together, and then those of each
// copy. A recipient whose lane cannot be told now is unrouted, and asked about when it is leased.
func (q *Queue) Jobs(ctx context.Context, g Generation, e *Entry) []Job {
	jobs := q.routed(ctx, g, e, NewJob(e))
	for _, name := range q.copies(g, e) {
		first := NewJob(e)
		first.Copy = name
		jobs = append(jobs, q.routed(ctx, g, e, first)...)
	}
	for i := range jobs {
		jobs[i].Number = i + 1
	}
	return jobs
}

// routed are the jobs that a new message's job becomes.
func (q *Queue) routed(ctx context.Context, g Generation, e *Entry, first Job) []Job {
	a := &attempt{q: q, e: e, job: &first, status: new(Status), g: g, ctx: ctx}
	a.rec.At = e.Accepted
	groups := a.routeAll()
	if len(groups) == 0 {
		return []Job{first}
	}
	return a.split(groups)
}

// routeAll sorts the pending recipients by where they go. Those that the configuration in charge has
// routed already are known to go together, so one is asked about.
func (a *attempt) routeAll() (groups []*group) {
	known := a.job.Lane != "" && sameStamp(a.job.Stamp, a.g.Stamp())
	var inLane lanesOfGroups
	for _, r := range a.pending() {
		if known && len(groups) > 0 {
			groups[0].rcpt = append(groups[0].rcpt, *r)
			continue
		}
		to := a.routeOne(r)
		known = known && to.err == nil && to.Lane == a.job.Lane // such as an address map's file may differ
		if g := inLane.alike(groups, to); g != nil {
			g.rcpt = append(g.rcpt, *r)
			continue
		}
		to.rcpt = []Recipient{*r}
		groups = append(groups, to)
	}
	return groups
}

// lanesOfGroups finds groups by their lane: there may be as many lanes as recipients. Most messages have one.
type lanesOfGroups struct {
	m     map[string][]*group
	known int // groups that are in m
}

const fewGroups = 8

// alike returns the group that can go with to, nil if there is none.
func (l *lanesOfGroups) alike(groups []*group, to *group) *group {
	in := groups
	if len(groups) > fewGroups {
		if l.m == nil {
			l.m = make(map[string][]*group)
		}
		for _, g := range groups[l.known:] {
			l.m[g.Lane] = append(l.m[g.Lane], g)
		}
		l.known = len(groups)
		in = l.m[to.Lane]
	}
	for _, g := range in {
		if g.Lane == to.Lane && to.alike(g) {
			return g
		}
	}
	return nil
}

// alike tells whether what goes to one place in a lane can go with what goes to the other.
func (to *group) alike(g *group) bool {
	return same(g.Sink, to.Sink) && g.Schedule.same(to.Schedule) && (g.err == nil) == (to.err == nil) && (g.err == nil || g.err.Error() == to.err.Error())
}

// same reports whether two sinks are one: two routes may share a lane and not a sink. Those that
// cannot be compared, such as functions, are one if their lane is.
func same(a, b Sink) (is bool) {
	defer func() {
		if recover() != nil {
			is = true
		}
	}()
	return a == b
}

// routeOne finds out where a recipient goes.
func (a *attempt) routeOne(r *Recipient) (to *group) {
	defer func() {
		if cause := recover(); cause != nil {
			to = &group{err: a.panicked("a route", cause)}
		}
	}()
	route, err := a.route(r)
	if err == nil && route.Sink == nil {
		err = ErrNoRoute
	}
	if err != nil {
		return &group{err: err}
	}
	return &group{Route: route}
}
