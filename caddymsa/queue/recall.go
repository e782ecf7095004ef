package queue

import (
	"context"
	"errors"
	"sync"
	"time"
)

// recalls are the attempts under way, by the channel that is closed when their configuration is left. One goroutine
// waits for each channel, not one for each attempt.
type recalls struct {
	parent context.Context // of all attempts

	mu    sync.Mutex
	under map[<-chan struct{}]map[*recall]struct{}
}

func (s *recalls) add(left <-chan struct{}, r *recall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.under[left]
	if set == nil {
		if s.under == nil {
			s.under = make(map[<-chan struct{}]map[*recall]struct{})
		}
		set = make(map[*recall]struct{})
		s.under[left] = set
		go s.wait(left)
	}
	set[r] = struct{}{}
}

func (s *recalls) remove(left <-chan struct{}, r *recall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.under[left], r)
}

// wait interrupts the attempts of a configuration that is left. For one that begins later somebody else waits.
func (s *recalls) wait(left <-chan struct{}) {
	select {
	case <-left:
	case <-s.parent.Done():
		return
	}
	s.mu.Lock()
	set := s.under[left]
	delete(s.under, left)
	s.mu.Unlock()
	for r := range set {
		r.interrupt()
	}
}

// recall ends an attempt that is to end, unless it cannot be taken back any more.
type recall struct {
	all    *recalls
	left   <-chan struct{} // closed when the attempt's configuration is left; nil: it never is
	grace  time.Duration
	cancel context.CancelFunc

	mu      sync.Mutex
	isFinal bool
	isCut   bool
	isOver  bool
	timer   *time.Timer // of what is left of grace
}

var errRecalled = errors.New("the attempt was interrupted before it was final")

// begin returns the attempt's context. It ends with that of all attempts, when the lease is lost, and when the
// configuration is left: at once if the attempt can be taken back, after grace if it cannot.
func (r *recall) begin(all *recalls, left, lost <-chan struct{}, grace time.Duration) context.Context {
	ctx, cancel := context.WithCancel(all.parent)
	r.all, r.left, r.grace, r.cancel = all, left, grace, cancel
	if left != nil {
		all.add(left, r)
	}
	if lost != nil { // not every spool can lose one
		go func() {
			select {
			case <-lost:
				r.end()
			case <-ctx.Done():
			}
		}()
	}
	return ctx
}

// leave is called when the attempt has ended.
func (r *recall) leave() {
	if r.left != nil {
		r.all.remove(r.left, r)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isOver = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.cancel()
}

// interrupt says that the configuration is left.
func (r *recall) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.isOver:
	case r.isFinal:
		r.timer = time.AfterFunc(r.grace, r.end)
	default:
		r.isCut = true
		r.cancel()
	}
}

func (r *recall) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isCut = true
	r.cancel()
}

// final is Delivery.Final.
func (r *recall) final() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended() {
		return errRecalled
	}
	r.isFinal = true
	return nil
}

// cut tells whether the attempt was ended from outside.
func (r *recall) cut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended()
}

func (r *recall) ended() bool { return r.isCut || r.all.parent.Err() != nil }
