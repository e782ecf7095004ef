package policyduplicate

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// memory is what was accepted, and what is about to be.
type memory struct {
	path string // of the journal; empty: none

	mu      sync.Mutex
	sharers []*sharer
	log     *zap.Logger   // of the latest of them
	window  time.Duration // the longest of theirs
	limit   int           // the highest of theirs: a configuration that does not come into force has nothing forgotten
	seen    map[sum]seen
	order   []noted // by time
	pending map[sum]chan struct{}

	journal *os.File
	lines   int       // in the journal
	began   time.Time // of its first line
	torn    bool      // its last line may have no end
	made    bool      // by this process
}

type seen struct {
	id string
	at time.Time
}

// noted is when a submission was accepted; it may have been again since.
type noted struct {
	sum sum
	at  time.Time
}

// sharer is a policy that shares the memory.
type sharer struct {
	window time.Duration
	limit  int
	log    *zap.Logger
}

func newMemory(path string) *memory {
	return &memory{path: path, log: zap.NewNop(), seen: make(map[sum]seen), pending: make(map[sum]chan struct{})}
}

// leave is the end of a sharer. Behind the last one all stays as it is.
func (m *memory) leave(p *sharer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sharers = slices.DeleteFunc(m.sharers, func(other *sharer) bool { return other == p })
	m.agree()
}

// agree has the settings be those of all who share the memory.
func (m *memory) agree() {
	if len(m.sharers) == 0 {
		return
	}
	m.window, m.limit = 0, 0
	for _, p := range m.sharers {
		m.window, m.limit, m.log = max(m.window, p.window), max(m.limit, p.limit), p.log
	}
}

// Destruct implements caddy.Destructor.
func (m *memory) Destruct() error { return m.Close() }

// Close closes the journal.
func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.journal == nil {
		return nil
	}
	m.unmake()
	err := m.journal.Close()
	m.journal = nil
	return err
}

// claim returns the id of the submission that was accepted since, or makes the caller the one whose
// submission it is: that ends with keep or forget. While another one's end is not known, it waits.
func (m *memory) claim(ctx context.Context, s sum, since time.Time) (id string, err error) {
	for {
		m.mu.Lock()
		if before, ok := m.seen[s]; ok && !before.at.Before(since) {
			m.mu.Unlock()
			return before.id, nil
		}
		other := m.pending[s]
		if other == nil {
			m.pending[s] = make(chan struct{})
			m.mu.Unlock()
			return "", nil
		}
		m.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// forget ends a claim whose submission was not accepted.
func (m *memory) forget(s sum) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(s)
}

func (m *memory) release(s sum) {
	if c := m.pending[s]; c != nil {
		close(c)
		delete(m.pending, s)
	}
}

// keep ends a claim whose submission is durable.
func (m *memory) keep(s sum, id string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(s, seen{id, at})
	m.drop(at)
	m.release(s)
	m.write(s, seen{id, at})
}

func (m *memory) add(s sum, v seen) {
	m.seen[s] = v
	m.order = append(m.order, noted{s, v.at})
}

// drop forgets what is older than the window, and the oldest beyond the limit.
func (m *memory) drop(now time.Time) {
	n := 0
	for ; n < len(m.order); n++ {
		oldest := m.order[n]
		if len(m.seen) <= m.limit && now.Sub(oldest.at) <= m.window {
			break
		}
		if m.seen[oldest.sum].at.Equal(oldest.at) {
			delete(m.seen, oldest.sum)
		}
	}
	m.order = m.order[n:]
}
