package spoolfile

import (
	"container/heap"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// item is what is kept in memory of an entry.
type item struct {
	id   string
	rec  record
	busy bool // being committed, delivered or changed: owned by one caller
	// broken says that the entry could not be read; it waits for the operator.
	broken bool
	// outcome is what a Record could not store; it is stored before the entry is
	// delivered again.
	outcome *queue.Entry
	pos     int // in the heap, -1 when it is not waiting
}

// schedule knows all entries and which of them is due first.
type schedule struct {
	mu    sync.Mutex
	items map[string]*item
	wait  waiting
}

func newSchedule() *schedule { return &schedule{items: make(map[string]*item)} }

// reserve makes an id known and busy; false when there is one already.
func (s *schedule) reserve(id string) (*item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.items[id] != nil {
		return nil, false
	}
	it := &item{id: id, busy: true, pos: -1}
	s.items[id] = it
	return it, true
}

// acquire makes a known entry the caller's.
func (s *schedule) acquire(id string) (*item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[id]
	switch {
	case it == nil:
		return nil, queue.ErrNotFound
	case it.busy:
		return nil, queue.ErrLeased
	}
	s.own(it)
	return it, nil
}

// take makes the entry that is due first the caller's, or says when one is due.
func (s *schedule) take(now time.Time) (*item, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wait) == 0 {
		return nil, time.Time{}
	}
	it := s.wait[0]
	if it.rec.next > nanos(now) {
		return nil, time.Unix(0, it.rec.next)
	}
	s.own(it)
	return it, time.Time{}
}

func (s *schedule) own(it *item) {
	it.busy = true
	if it.pos >= 0 {
		heap.Remove(&s.wait, it.pos)
	}
}

// settle gives an owned entry back with what is now stored of it.
func (s *schedule) settle(it *item, rec record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.rec, it.busy = rec, false
	if !rec.held && !it.broken {
		heap.Push(&s.wait, it)
	}
}

// postpone gives an owned entry back, to be due at another time than is stored.
func (s *schedule) postpone(it *item, next time.Time, outcome *queue.Entry) {
	rec := it.rec
	rec.next = nanos(next)
	it.outcome = outcome
	s.settle(it, rec)
}

// forget drops an owned entry.
func (s *schedule) forget(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.items, it.id)
}

func (s *schedule) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items)
}

// waiting orders entries by when they are due, then by id.
type waiting []*item

func (w waiting) Len() int { return len(w) }

func (w waiting) Less(i, j int) bool {
	if w[i].rec.next != w[j].rec.next {
		return w[i].rec.next < w[j].rec.next
	}
	return w[i].id < w[j].id
}

func (w waiting) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].pos, w[j].pos = i, j
}

func (w *waiting) Push(x any) {
	it := x.(*item)
	it.pos = len(*w)
	*w = append(*w, it)
}

func (w *waiting) Pop() any {
	old := *w
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	it.pos = -1
	return it
}
