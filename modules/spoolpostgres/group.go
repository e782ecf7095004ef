package spoolpostgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	groupMost   = 64      // members of a group
	groupOctets = 1 << 20 // of all members of a group, about
	// groupSlow is how long a group has been under way when another begins beside it, since the database, or a connection to it, takes its time.
	groupSlow  = 20 * time.Millisecond
	groupsOnce = 4 // that are under way at the same time
	// groupLock is how long a group waits for somebody else's lock, such as that of a node that was stopped in the middle of a
	// transaction: then each of its members goes alone, and only the one waits that has to.
	groupLock = "2s"
)

// errAlone has a caller do alone what could not be done together with others.
var errAlone = errors.New("to be done alone")

// group has what several callers wait for done together, in one transaction with one COMMIT: who comes while others are under way
// waits until they are done, and goes with all who came meanwhile. Who comes alone waits for nobody.
type group[T any] struct {
	do      func([]*joined[T]) // sets their err
	octets  func(T) int
	key     func(T) any // no two members of one group have the same
	mu      sync.Mutex
	waiting []*joined[T]
	running int
	began   time.Time // the latest of those that run
}

// joined is one caller's part of a group.
type joined[T any] struct {
	what  T
	until time.Time
	err   error
	done  chan struct{}
}

// join returns what became of the caller's part. Once it is under way it goes on to its end, by that time, whatever becomes of ctx.
func (g *group[T]) join(ctx context.Context, until time.Time, what T) error {
	m := &joined[T]{what: what, until: until, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	g.begin()
	g.mu.Unlock()
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	if i := slices.Index(g.waiting, m); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.mu.Unlock()
		return ctx.Err()
	}
	g.mu.Unlock()
	<-m.done
	return m.err
}

// begin has a group begin, unless those who wait can as well go with the next.
func (g *group[T]) begin() {
	if len(g.waiting) == 0 || g.running == groupsOnce || g.running > 0 && time.Since(g.began) < groupSlow {
		return
	}
	g.running, g.began = g.running+1, time.Now()
	go g.run()
}

// run is one group, after which the next begins.
func (g *group[T]) run() {
	slow := time.AfterFunc(groupSlow, g.next)
	if some := g.take(); len(some) > 0 {
		g.do(some)
		for _, m := range some {
			close(m.done)
		}
	}
	slow.Stop()
	g.mu.Lock()
	g.running--
	g.mu.Unlock()
	g.next()
}

func (g *group[T]) next() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begin()
}

// take is a group of those who wait, in their order.
func (g *group[T]) take() (some []*joined[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	octets, keys := 0, make(map[any]bool)
	g.waiting = slices.DeleteFunc(g.waiting, func(m *joined[T]) bool {
		n, key := g.octets(m.what), g.key(m.what)
		if len(some) == groupMost || len(some) > 0 && octets+n > groupOctets || keys[key] {
			return false
		}
		if key != nil {
			keys[key] = true
		}
		octets += n
		some = append(some, m)
		return true
	})
	return some
}

// together runs f for a group in one transaction, and gives its members what came of it. f tells for each of them how it fared, should the transaction be committed.
func together[T any](s *Store, some []*joined[T], f func(ctx context.Context, tx *transaction) error, fared func(T) error, present func(context.Context) (bool, error)) {
	until := some[0].until
	for _, m := range some {
		if m.until.Before(until) {
			until = m.until
		}
	}
	err := s.txUntil(context.Background(), until, true, f, present)
	for _, m := range some {
		switch {
		case err == nil:
			m.err = fared(m.what)
		case errors.Is(err, errUncertain), len(some) == 1 && !isLockTimeout(err):
			m.err = err
		default:
			m.err = errAlone
		}
	}
}
