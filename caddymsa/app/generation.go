package app

import (
	"context"
	"slices"
	"sync"
	"time"
)

// generation is a configuration's hold on the calls that run in its modules. It
// has to outlive such a call, never a client's pause (docs/dev/architecture.md, decision 2).
type generation struct {
	ctx    context.Context // ends when the calls must
	cancel context.CancelFunc

	mu     sync.Mutex
	calls  int
	closed bool
	idle   chan struct{} // closed once it is closed and no call is left
}

func newGeneration() *generation {
	g := &generation{idle: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// enter begins a call: its context ends with parent or with the generation. It
// returns false when the generation takes no calls any more.
func (g *generation) enter(parent context.Context) (ctx context.Context, leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, false
	}
	g.calls++
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(g.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.calls--; g.calls == 0 && g.closed {
			close(g.idle)
		}
	}, true
}

// close takes no more calls, waits for those under way, and cancels them when
// grace is over; it returns when the last has left.
func (g *generation) close(grace time.Duration) {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		if g.calls == 0 {
			close(g.idle)
		}
	}
	g.mu.Unlock()

	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-g.idle:
	case <-timer.C:
	}
	g.cancel()
	<-g.idle
}

// stack holds what several generations have put there; the newest is in charge.
type stack[T comparable] struct {
	mu    sync.RWMutex
	items []T
}

func (s *stack[T]) push(v T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = append(s.items, v)
}

// remove takes v out, wherever it lies, and tells how many are left.
func (s *stack[T]) remove(v T) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = slices.DeleteFunc(s.items, func(have T) bool { return have == v })
	return len(s.items)
}

// top is the zero T when the stack is empty.
func (s *stack[T]) top() (v T) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := len(s.items); n > 0 {
		v = s.items[n-1]
	}
	return v
}

func (s *stack[T]) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.items)
}
