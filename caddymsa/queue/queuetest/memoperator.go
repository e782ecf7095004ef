package queuetest

import (
	"context"
	"maps"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Get implements queue.Operator.
func (s *MemSpool) Get(ctx context.Context, id string) (*queue.EntryView, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if m := s.byID[id]; m != nil {
		return m.view(), nil
	}
	return nil, queue.ErrNotFound
}

// List implements queue.Operator.
func (s *MemSpool) List(ctx context.Context, after string, yield func(*queue.EntryView) bool) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	var all []*queue.EntryView
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		if id > after {
			all = append(all, s.byID[id].view())
		}
	}
	s.mu.Unlock()
	for _, m := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !yield(m) {
			return nil
		}
	}
	return nil
}

// Change implements queue.Operator.
func (s *MemSpool) Change(ctx context.Context, id string, change func(*queue.EntryView) error) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	m := s.byID[id]
	if m == nil {
		return 0, queue.ErrNotFound
	}
	v := m.view()
	if err := change(v); err != nil {
		return 0, err
	}
	m.status = *v.Status.Clone()
	for i := range v.Jobs {
		s.put(m, v.Jobs[i].Clone())
	}
	s.endIfDone(m)
	s.keep(v.Facts)
	s.wake()
	return v.InFlight(), nil
}

// put stores a job, unless somebody has it leased.
func (s *MemSpool) put(m *memEntry, j *queue.Job) {
	leased := j.Leased
	j.Leased = false
	if j.Number == 0 {
		j.Number = m.next
	}
	m.next = max(m.next, j.Number+1)
	for _, have := range m.jobs {
		if have.Number == j.Number {
			if !leased && have.lease == nil {
				have.Job = *j
			}
			return
		}
	}
	m.jobs = append(m.jobs, &memJob{Job: *j})
}

func (s *MemSpool) endIfDone(m *memEntry) {
	if m.status.Ended(m.open()) {
		delete(s.byID, m.entry.ID)
	}
}

// Delete implements queue.Operator.
func (s *MemSpool) Delete(ctx context.Context, id string, facts ...journal.Fact) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	m := s.byID[id]
	if m == nil {
		return 0, queue.ErrNotFound
	}
	delete(s.byID, id)
	s.keep(m.view().Waits(facts))
	return m.view().InFlight(), nil
}

// Lanes implements queue.Operator.
func (s *MemSpool) Lanes(ctx context.Context, yield func(queue.LaneInfo) bool) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	lanes := make(map[string]*queue.LaneInfo)
	for _, m := range s.byID {
		for _, j := range m.jobs {
			if !j.Pending() || m.status.Held != "" && j.lease == nil {
				continue
			}
			l := lanes[j.Lane]
			if l == nil {
				l = &queue.LaneInfo{Name: j.Lane, Oldest: m.entry.Accepted}
				lanes[j.Lane] = l
			}
			if m.entry.Accepted.Before(l.Oldest) {
				l.Oldest = m.entry.Accepted
			}
			if j.lease != nil {
				l.Leased++
			} else {
				l.Waiting++
			}
		}
	}
	s.mu.Unlock()
	for _, l := range lanes {
		if !yield(*l) {
			break
		}
	}
	return nil
}

// InLane implements queue.Operator.
func (s *MemSpool) InLane(ctx context.Context, lane, after string, limit int) (ids []string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		if m := s.byID[id]; id > after && len(ids) < limit && m.status.Held == "" &&
			slices.ContainsFunc(m.jobs, func(j *memJob) bool { return j.Pending() && j.lease == nil && j.Lane == lane }) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Size implements queue.Operator.
func (s *MemSpool) Size(ctx context.Context) (messages int, octets int64, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, 0, err
	}
	defer s.mu.Unlock()
	for _, m := range s.byID {
		octets += m.entry.Size
	}
	return len(s.byID), octets, nil
}

// Tally implements queue.Tallier.
func (s *MemSpool) Tally(ctx context.Context) (t queue.Tally, err error) {
	if err := s.enter(ctx); err != nil {
		return t, err
	}
	defer s.mu.Unlock()
	for _, m := range s.byID {
		v := m.view()
		switch {
		case v.Status.Held != "":
			t.Held++
			continue
		case v.DeadLetter():
			t.Dead++
		}
		due := v.Next()
		if special, ok := v.Status.Special(v.Open(), 0); ok && !v.StatusLeased && (due.IsZero() || special.Due.Before(due)) {
			due = special.Due
		}
		if !due.IsZero() && (t.Next.IsZero() || due.Before(t.Next)) {
			t.Next = due
		}
	}
	return t, nil
}
