package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Lane is what the operator sees of a lane.
type Lane struct {
	Name    string    `json:"name"`
	Waiting int       `json:"waiting"`           // jobs that are not under way
	Oldest  time.Time `json:"oldest,omitzero"`   // when the oldest message there was accepted
	Running int       `json:"in_flight"`         // attempts under way
	Limit   int       `json:"limit,omitempty"`   // attempts at once at the moment; negative: any number
	State   string    `json:"state"`             // up, down or paused
	Since   time.Time `json:"since,omitzero"`    // of being down or paused
	Probe   time.Time `json:"probe,omitzero"`    // the next one, of a lane that is down
	Cause   string    `json:"cause,omitempty"`   // why it is down or paused
	Success time.Time `json:"success,omitzero"`  // the last one
	Answer  string    `json:"answer,omitempty"`  // the last one
	Unknown bool      `json:"unknown,omitempty"` // the configuration has no such lane
}

// States of a lane.
const (
	LaneUp     = "up"
	LaneDown   = "down"
	LanePaused = "paused"
)

// Lanes are the lanes that have jobs or of which something is to be known, by name.
func (q *Queue) Lanes(ctx context.Context) ([]Lane, error) {
	var all []Lane
	seen := make(map[string]bool)
	err := q.spool.Lanes(ctx, func(i LaneInfo) bool {
		all = append(all, Lane{Name: i.Name, Waiting: i.Waiting, Oldest: i.Oldest, Running: i.Leased, State: LaneUp})
		seen[i.Name] = true
		return true
	})
	if err != nil {
		return nil, err
	}
	q.lanes.mu.Lock()
	for name := range q.lanes.m {
		if !seen[name] {
			all = append(all, Lane{Name: name, State: LaneUp})
		}
	}
	for i := range all {
		if l := q.lanes.m[all[i].Name]; l != nil {
			l.describe(&all[i])
		}
	}
	q.lanes.mu.Unlock()
	slices.SortFunc(all, func(a, b Lane) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (l *lane) describe(to *Lane) {
	to.Running = max(to.Running, l.visits)
	to.Limit, to.Since, to.Success, to.Answer, to.Unknown = l.told.Limit, l.since, l.success, l.answer, l.unknown
	switch {
	case l.paused != "":
		to.State, to.Cause = LanePaused, l.paused
	case l.failures > 0:
		to.State, to.Probe = LaneDown, l.probe
		if l.cause != nil {
			to.Cause = causeText(l.cause)
		}
	}
}

// What Pause, Resume and Probe say of a lane that there is nothing to do with.
var (
	ErrNoLane    = errors.New("there is no such lane")
	ErrNotPaused = errors.New("the lane is not paused")
	ErrPaused    = errors.New("the lane is paused")
	ErrUnnamed   = errors.New("name a lane")
)

// hasLane tells whether the queue or the spool knows the lane. What is not routed yet is listed as a lane without a
// name, which cannot be steered.
func (q *Queue) hasLane(ctx context.Context, name string) error {
	if name == "" {
		return ErrUnnamed
	}
	all, err := q.Lanes(ctx)
	if err == nil && !slices.ContainsFunc(all, func(l Lane) bool { return l.Name == name }) {
		err = fmt.Errorf("%w: %s", ErrNoLane, name)
	}
	return err
}

// expects tells whether messages may go to a lane to which none has gone lately: it is paused before they come.
func (q *Queue) expects(name string) bool {
	g, _, ok := q.host.Acquire()
	if !ok {
		return false
	}
	e, ok := g.(LaneExpecter)
	return ok && e.Expects(name)
}

// Pause has a lane take nothing until Resume; attempts under way end. This process forgets it at
// its end, nodes that share lanes (LaneSharer) do not.
func (q *Queue) Pause(ctx context.Context, name, reason string) error {
	if err := q.hasLane(ctx, name); err != nil && !(errors.Is(err, ErrNoLane) && q.expects(name)) {
		return err
	}
	if reason = oneLine(reason); reason == "" {
		reason = "paused by the operator"
	}
	at := now()
	q.lanes.steer(name, at, func(l *lane) { l.paused, l.since = reason, at })
	return nil
}

// Resume ends a Pause.
func (q *Queue) Resume(ctx context.Context, name string) error {
	if err := q.hasLane(ctx, name); err != nil {
		return err
	}
	paused := false
	q.lanes.steer(name, now(), func(l *lane) {
		if paused = l.paused != ""; paused {
			l.paused, l.since = "", time.Time{}
			if l.failures > 0 {
				l.since = l.fell
			}
		}
	})
	if !paused {
		return fmt.Errorf("%w: %s", ErrNotPaused, name)
	}
	q.Wake()
	return nil
}

// TakePauses pauses what another queue has paused, whose spool was in use before this one's.
func (q *Queue) TakePauses(from *Queue) {
	at := now()
	for name, reason := range from.lanes.pauses() {
		q.lanes.steer(name, at, func(l *lane) {
			if l.paused == "" {
				l.paused, l.since = reason, at
			}
		})
	}
}

// pauses are the reasons of lanes that are paused.
func (ls *lanes) pauses() map[string]string {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	all := make(map[string]string)
	for name, l := range ls.m {
		if l.paused != "" {
			all[name] = l.paused
		}
	}
	return all
}

// Probe has a lane that is down tried by the next message that goes there: the operator knows more
// than the schedule. Nothing goes to one that is paused.
func (q *Queue) Probe(ctx context.Context, name string) error {
	if err := q.hasLane(ctx, name); err != nil {
		return err
	}
	paused := ""
	q.lanes.steer(name, now(), func(l *lane) { l.probe, paused = time.Time{}, l.paused })
	if paused != "" {
		return fmt.Errorf("%w: %s: %s", ErrPaused, name, paused)
	}
	q.Wake()
	return nil
}

// ProbeNow is Probe for all lanes.
func (q *Queue) ProbeNow() {
	q.lanes.steerAll(now(), func(l *lane) { l.probe = time.Time{} })
	q.Wake()
}

// Why tells in words for what a job waits.
func (q *Queue) Why(s *Status, j *Job) string {
	at := now()
	switch {
	case !j.Pending():
		return ""
	case j.Leased:
		return "is being delivered"
	case s.Held != "":
		return "is held: " + s.Held
	}
	q.lanes.mu.Lock()
	defer q.lanes.mu.Unlock()
	var state Lane
	if l := q.lanes.m[j.Lane]; l != nil && j.Lane != "" {
		l.describe(&state)
	}
	switch {
	case state.State == LanePaused:
		return fmt.Sprintf("lane %s is paused: %s", j.Lane, state.Cause)
	case state.State == LaneDown:
		return fmt.Sprintf("lane %s is down since %s: %s", j.Lane, state.Since.UTC().Format(time.RFC3339), state.Cause)
	case j.Due.After(at):
		return "waits for its next attempt"
	case j.Lane == "":
		return "is to be routed"
	}
	return "waits for its turn in lane " + j.Lane
}

// ErrNoPlace says that a visit had no place in its lane in time.
var ErrNoPlace = errors.New("no place in the lane in time")

// Visit takes a place in a lane for a delivery of the caller's own, beside the spool's jobs. The
// caller tells done what Deliver returned.
func (q *Queue) Visit(ctx context.Context, route Route, user string) (done func(*Delivery, error), err error) {
	if cause := q.lanes.blocked(route.Lane); cause != nil && !q.lanes.mayProbe(route.Lane, now()) {
		return nil, fmt.Errorf("%w: %w", ErrNoPlace, cause)
	}
	p := q.lanes.wait(route.Lane, route.Destination, now())
	select {
	case <-p.given:
	case <-ctx.Done():
		if q.lanes.leaveWait(route.Lane, p, now()) {
			return nil, fmt.Errorf("%w: %w", ErrNoPlace, ctx.Err())
		}
	}
	return func(d *Delivery, err error) { q.lanes.leave(p.visit, d.found(user, err, ctx.Err() != nil), now()) }, nil
}

// mayProbe tells whether a lane that is down is to be tried now.
func (ls *lanes) mayProbe(name string, at time.Time) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.m[name]
	return l != nil && l.paused == "" && !l.probing && !at.Before(l.probe) && l.probes()
}
