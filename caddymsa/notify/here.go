package notify

import (
	"context"
	"sync"
)

// here are the followers of this process that act: a configuration that comes waits until the one before has ended its own.
var here = &room{taken: make(map[seat]chan struct{})}

type room struct {
	mu    sync.Mutex
	taken map[seat]chan struct{} // closed when it is free again
}

type seat struct {
	journal Journal
	name    string
}

// enter waits until nobody else has the name in this journal.
func (r *room) enter(ctx context.Context, j Journal, name string) (leave func(), err error) {
	s := seat{j, name}
	for {
		r.mu.Lock()
		free, taken := r.taken[s]
		if !taken {
			free = make(chan struct{})
			r.taken[s] = free
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				delete(r.taken, s)
				close(free)
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-free:
		}
	}
}
