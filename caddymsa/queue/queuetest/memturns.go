package queuetest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// SetLane implements queue.Spool.
func (s *MemSpool) SetLane(name string, state queue.LaneState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes[name] = state
	s.shrunk(name)
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

// candidate is a job that may be leased.
type candidate struct {
	m        *memEntry
	j        *memJob
	due      time.Time
	priority int
	served   int // the number of the turn that its user last had in its lane
}

// Lease implements queue.Spool.
func (s *MemSpool) Lease(ctx context.Context, now time.Time, want queue.Want) (queue.Lease, time.Time, error) {
	if err := s.fault("lease", nil); err != nil {
		return nil, time.Time{}, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, time.Time{}, err
	}
	defer s.mu.Unlock()
	s.heed()
	if now.Before(s.latest.Add(-time.Minute)) { // the clock was ahead: nobody knows when they were to be due
		for _, m := range s.byID {
			for _, j := range m.jobs {
				if j.Due.After(now) {
					j.Due = now
				}
				if m.entry.Accepted.After(now) && j.Deadline.After(now) {
					j.Deadline = now
				}
			}
		}
		s.latest = now
	}
	if now.After(s.latest) {
		s.latest = now
	}
	var next time.Time
	due := s.due[:0]
	look := func(m *memEntry, j *memJob) {
		overdue := !j.Deadline.IsZero() && !j.Deadline.After(now)
		if overdue || !j.Due.After(now) && s.room(j.Lane, want) {
			due = append(due, candidate{m: m, j: j, due: j.Due, priority: m.entry.Priority})
			return
		}
		for _, t := range [...]time.Time{j.Due, j.Deadline} {
			if t.After(now) && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	for _, m := range s.byID {
		if m.status.Held != "" {
			continue
		}
		for _, j := range m.jobs {
			if j.lease == nil && j.Pending() {
				look(m, j)
			}
		}
		if m.special == nil {
			if special, ok := m.status.Special(m.open(), m.copies()); ok {
				look(m, &memJob{Job: special})
			}
		}
	}
	s.due = due
	if len(due) == 0 {
		return nil, next, queue.ErrNoneDue
	}
	c := s.turn(s.probes(due))
	l := &memLease{s: s, m: c.m, j: c.j, job: c.j.Clone(), status: c.m.status.Clone(), epoch: s.epoch, lost: make(chan struct{})}
	if c.j.Number == 0 {
		c.m.special = c.j
	}
	c.j.lease = l
	s.last[c.j.Lane] = c.j
	s.held[c.j.Lane]++
	return l, time.Time{}, nil
}

// room tells whether this node takes something of a lane.
func (s *MemSpool) room(lane string, want queue.Want) bool {
	state, ok := s.lanes[lane]
	switch {
	case lane == "":
		return true
	case !ok:
		state = queue.NewLane
	}
	return (state.Limit < 0 || s.held[lane] < state.Limit) && (state.Proven || !want.Proven)
}

// probes leaves of what is due in lanes that are probed the one that was tried longest ago, with the highest of their
// priorities.
func (s *MemSpool) probes(due []candidate) []candidate {
	if !slices.ContainsFunc(due, func(c candidate) bool { return s.lanes[c.j.Lane].Probe }) {
		return due
	}
	rest, first := []candidate(nil), make(map[string]candidate)
	for _, c := range due {
		best, found := first[c.j.Lane]
		switch {
		case !s.lanes[c.j.Lane].Probe:
			rest = append(rest, c)
			continue
		case !found:
			best = c
		}
		priority := max(best.priority, c.priority)
		if s.last[c.j.Lane] == best.j || s.last[c.j.Lane] != c.j && cmp.Or(best.j.Tried.Compare(c.j.Tried), best.due.Compare(c.due)) > 0 {
			best = c
		}
		best.priority = priority
		first[c.j.Lane] = best
	}
	return slices.AppendSeq(rest, maps.Values(first))
}

// turn is the job of the highest priority whose user has waited longest there, or now and then the
// one whose user has waited longest whatever its priority.
func (s *MemSpool) turn(due []candidate) candidate {
	s.turns++
	low := s.turns%8 == 0
	for i, c := range due {
		due[i].served = s.served[c.m.entry.User+"\x00"+c.j.Lane]
	}
	best := slices.MinFunc(due, func(a, b candidate) int {
		priority := cmp.Compare(b.priority, a.priority)
		if low {
			priority = -priority
		}
		return cmp.Or(priority, cmp.Compare(a.served, b.served), a.due.Compare(b.due), cmp.Compare(a.m.entry.ID, b.m.entry.ID), cmp.Compare(a.j.Number, b.j.Number))
	})
	s.served[best.m.entry.User+"\x00"+best.j.Lane] = s.turns
	return best
}

func (m *memEntry) open() (n int) {
	for _, j := range m.jobs {
		if j.Pending() {
			n++
		}
	}
	return n
}

// copies is how many of the open jobs are of a copy.
func (m *memEntry) copies() (n int) {
	for _, j := range m.jobs {
		if j.Pending() && j.Copy != "" {
			n++
		}
	}
	return n
}

func (m *memEntry) view() *queue.EntryView {
	v := &queue.EntryView{Entry: m.entry, Status: *m.status.Clone(), StatusLeased: m.special != nil}
	for _, j := range m.jobs {
		c := *j.Clone()
		c.Leased = j.lease != nil
		v.Jobs = append(v.Jobs, c)
	}
	return v
}

func (s *MemSpool) giveBack(m *memEntry, j *memJob) {
	holder := j.lease.s
	holder.held[j.Lane]--
	holder.shrunk(j.Lane)
	j.lease = nil
	if m.special == j {
		m.special = nil
	}
}
