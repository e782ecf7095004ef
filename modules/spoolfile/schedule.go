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
	in      *waiting // where it waits, nil: nowhere
	pos     int      // in there
}

// schedule knows all entries, when each is due, and whose turn it is among those that are.
type schedule struct {
	mu    sync.Mutex
	items map[string]*item
	wait  waiting
	due   lines
}

func newSchedule() *schedule { return &schedule{items: make(map[string]*item)} }

// reserve makes an id known and busy; false when there is one already.
func (s *schedule) reserve(id string) (*item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.items[id] != nil {
		return nil, false
	}
	it := &item{id: id, busy: true}
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

// take makes the entry whose turn it is the caller's, or says when one is due.
func (s *schedule) take(now time.Time) (*item, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := nanos(now)
	for len(s.wait) > 0 && s.wait[0].rec.next <= at {
		it := s.wait[0]
		s.wait.drop(it)
		s.due.add(it)
	}
	if it := s.due.take(); it != nil {
		it.busy = true
		return it, time.Time{}
	}
	if len(s.wait) == 0 {
		return nil, time.Time{}
	}
	return nil, time.Unix(0, s.wait[0].rec.next)
}

func (s *schedule) own(it *item) {
	it.busy = true
	if it.in != nil {
		it.in.drop(it)
	}
}

// settle gives an owned entry back with what is now stored of it.
func (s *schedule) settle(it *item, rec record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.rec, it.busy = rec, false
	if !rec.held && !it.broken {
		s.wait.put(it)
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

// waiting is a heap of entries by when they are due, then by id.
type waiting []*item

func (w *waiting) put(it *item) {
	it.in = w
	heap.Push(w, it)
}

func (w *waiting) drop(it *item) {
	heap.Remove(w, it.pos)
	it.in = nil
}

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
	return it
}
