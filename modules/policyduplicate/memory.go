package policyduplicate

import (
	"context"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// memory is what was accepted, and what is about to be.
type memory struct {
	log  *zap.Logger
	path string // of the journal; empty: none

	mu      sync.Mutex
	seen    map[sum]seen
	order   []sum // by time; what is not in seen any more, or is later, is stale
	pending map[sum]chan struct{}
	journal *os.File
	lines   int // in the journal
}

type seen struct {
	id string
	at time.Time
}

func newMemory(path string, log *zap.Logger) *memory {
	return &memory{log: log, path: path, seen: make(map[sum]seen), pending: make(map[sum]chan struct{})}
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
			return "", ctx.Err()
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
func (m *memory) keep(s sum, id string, at time.Time, limit int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(s, seen{id, at})
	m.drop(limit)
	m.release(s)
	m.write(s, seen{id, at})
}

func (m *memory) add(s sum, v seen) {
	m.seen[s] = v
	m.order = append(m.order, s)
}

// drop forgets the oldest beyond the limit.
func (m *memory) drop(limit int) {
	n := 0
	for len(m.seen) > limit && n < len(m.order) {
		delete(m.seen, m.order[n])
		n++
	}
	m.order = m.order[n:]
	if len(m.order) > 2*limit+100 { // submissions that came again after their window
		kept := m.order[:0:0]
		done := make(map[sum]bool, len(m.seen))
		for i := len(m.order) - 1; i >= 0; i-- {
			if s := m.order[i]; !done[s] {
				if _, ok := m.seen[s]; ok {
					kept = append(kept, s)
				}
				done[s] = true
			}
		}
		for i, j := 0, len(kept)-1; i < j; i, j = i+1, j-1 {
			kept[i], kept[j] = kept[j], kept[i]
		}
		m.order = kept
	}
}
