package app

import (
	"context"
	"sync"
)

// underWay are the requests of web sites, of all configurations.
var underWay = &requests{empty: make(chan struct{})}

// requests are counted, so that the process does not end under them.
type requests struct {
	mu    sync.Mutex
	n     int
	shut  bool
	empty chan struct{} // closed when it is shut and none is left
}

// begin tells whether one may begin.
func (r *requests) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shut {
		return false
	}
	r.n++
	return true
}

func (r *requests) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n--; r.n == 0 && r.shut {
		close(r.empty)
	}
}

// stop lets none begin any more.
func (r *requests) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shut {
		return
	}
	if r.shut = true; r.n == 0 {
		close(r.empty)
	}
}

// wait is until all have ended that were under way at stop, or ctx ends.
func (r *requests) wait(ctx context.Context) {
	select {
	case <-r.empty:
	case <-ctx.Done():
	}
}
