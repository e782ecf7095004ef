package queue

import (
	"sync"
	"time"
)

const (
	// asideAfter is how long an attempt keeps a worker's place. Most that take longer wait for a next hop that
	// says nothing, or not much, which costs a connection and no more, and behind all that such lanes may
	// take are lanes that nobody has tried yet, and those that take a moment.
	asideAfter = time.Second
	// asideShare is how many attempts are set aside at most, for each worker.
	asideShare = 4
)

// seat is what a worker's attempt counts as.
type seat struct {
	q       *Queue
	workers int

	mu       sync.Mutex
	unproven bool // its lane was when it began
	aside    bool // it counts among those set aside, and no more as a worker
	over     bool
	timer    *time.Timer
}

// take counts a job of the lane that a worker has got; the worker ends it.
func (q *Queue) take(lane string, workers int) *seat {
	s := &seat{q: q, workers: workers, unproven: q.lanes.claim(lane)}
	q.running.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(asideAfter, s.setAside)
	return s
}

// setAside makes room for another attempt, or looks again later whether there is any.
func (s *seat) setAside() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if s.q.aside.Add(1) > int32(min(asideShare*s.workers, 1<<20)) { //nolint:gosec // it is small
		s.q.aside.Add(-1)
		s.timer.Reset(asideAfter)
		return
	}
	s.aside = true
	s.leave()
}

// end is called when the attempt has ended.
func (s *seat) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.timer.Stop()
	if s.aside {
		s.q.aside.Add(-1)
		return
	}
	s.leave()
}

func (s *seat) leave() {
	if s.unproven {
		s.q.lanes.unclaim()
	}
	s.q.running.Add(-1)
	signal(s.q.freed)
}
