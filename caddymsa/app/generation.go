package app

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// generation is a configuration's hold on the calls that run in its modules. It
// has to outlive such a call, never a client's pause (docs/dev/architecture.md, decision 2).
type generation struct {
	mu     sync.Mutex
	calls  map[*call]struct{}
	closed bool
	idle   chan struct{} // closed once it is closed and no call is left
}

// call is one that runs in a module, and its context, which ends with its parent, its generation or itself. Most modules never wait for
// that, and until somebody does there is nothing that could be closed.
type call struct {
	parent context.Context

	mu             sync.Mutex
	awaited        context.Context // nil: nobody waits for the end
	close          context.CancelFunc
	err            error // nil: it has not been ended
	module, method string
	since          time.Time
}

type callKey struct{}

// Deadline implements context.Context.
func (c *call) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Done implements context.Context.
func (c *call) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awaited == nil {
		c.awaited, c.close = context.WithCancel(c.parent)
		if c.err != nil {
			c.close()
		}
	}
	return c.awaited.Done()
}

// Err implements context.Context.
func (c *call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.awaited != nil:
		return c.awaited.Err()
	case c.err != nil:
		return c.err
	}
	return c.parent.Err()
}

// Value has the call found in the contexts that are made of its own.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	c.mu.Lock()
	from := c.parent
	if c.awaited != nil {
		from = c.awaited // which contexts made of this one look for
	}
	c.mu.Unlock()
	return from.Value(key)
}

func (c *call) cancel() {
	c.mu.Lock()
	c.err = cmp.Or(c.err, c.parent.Err(), context.Canceled)
	end := c.close
	c.mu.Unlock()
	if end != nil {
		end()
	}
}

// calling notes which module is called next, for the log if it has to be left behind.
func calling(ctx context.Context, module, method string) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.module, c.method, c.since = module, method, time.Now()
	}
}

func newGeneration() *generation {
	return &generation{idle: make(chan struct{}), calls: make(map[*call]struct{})}
}

// enter begins a call: its context ends with parent or with the generation. It
// returns false when the generation takes no calls any more.
func (g *generation) enter(parent context.Context) (ctx context.Context, leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, false
	}
	c := &call{parent: parent, since: time.Now()}
	g.calls[c] = struct{}{}
	return c, func() {
		c.cancel()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.calls, c)
		if len(g.calls) == 0 && g.closed {
			close(g.idle)
		}
	}, true
}

// parting is how long a call may take to return once its context has ended.
const parting = 500 * time.Millisecond

// close takes no more calls, waits for those under way until ctx ends, and then cancels them. A call
// that does not heed its context is left behind, with a line in the log: Caddy holds the lock of its
// configuration meanwhile.
func (g *generation) close(ctx context.Context, log *zap.Logger) {
	if !g.shut() {
		return
	}
	select {
	case <-g.idle:
	case <-ctx.Done():
	}
	g.cancel()
	timer := time.NewTimer(parting)
	defer timer.Stop()
	select {
	case <-g.idle:
	case <-timer.C:
		g.mu.Lock()
		defer g.mu.Unlock()
		for c := range g.calls {
			c.leftBehind(log)
		}
	}
}

// cancel ends the contexts of the calls under way; there come no more.
func (g *generation) cancel() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.calls {
		c.cancel()
	}
}

// shut tells whether it was open until now.
func (g *generation) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	if g.closed = true; len(g.calls) == 0 {
		close(g.idle)
	}
	return true
}

func (c *call) leftBehind(log *zap.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	log.Error("a call does not end although its context has; it is left behind",
		zap.String("module", c.module), zap.String("call", c.method), zap.Duration("for", time.Since(c.since)))
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
