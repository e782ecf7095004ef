package spoolfile

import "sync"

// shared runs f for many callers at once: each gets the result of a run that
// began after its call.
type shared struct {
	f    func() error
	run  sync.Mutex
	mu   sync.Mutex
	next *round
}

type round struct {
	done chan struct{}
	err  error
}

func (s *shared) do() error {
	s.mu.Lock()
	r := s.next
	if r != nil {
		s.mu.Unlock()
		<-r.done
		return r.err
	}
	r = &round{done: make(chan struct{})}
	s.next = r
	s.mu.Unlock()

	s.run.Lock()
	defer s.run.Unlock()
	s.mu.Lock()
	s.next = nil // who comes now may have come too late for this run
	s.mu.Unlock()
	r.err = s.f()
	close(r.done)
	return r.err
}
