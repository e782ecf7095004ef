package msatest

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

// MemCounter has counts that nodes of a test share.
type MemCounter struct {
	// Now is its clock. Default time.Now.
	Now func() time.Time

	mu    sync.Mutex
	all   map[string]memCount
	hangs bool
	asked int
}

// memCount is a count that is kept until then; one that passes is gone then.
type memCount struct {
	level int64
	until time.Time
}

// Hang has it answer nobody, or again.
func (m *MemCounter) Hang(hangs bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hangs = hangs
}

// Asked is how often it was asked.
func (m *MemCounter) Asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

// Count implements counts.Counter.
func (m *MemCounter) Count(ctx context.Context, changes ...counts.Change) ([]counts.Count, error) {
	m.mu.Lock()
	m.asked++
	hangs := m.hangs
	m.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.Now != nil {
		now = m.Now()
	}
	if m.all == nil {
		m.all = make(map[string]memCount)
	}
	found := make([]counts.Count, len(changes))
	for i, c := range changes {
		found[i] = m.change(now, c)
	}
	return found, nil
}

func (m *MemCounter) change(now time.Time, c counts.Change) counts.Count {
	level := int64(0)
	if has := m.all[c.Key]; c.Keep == 0 {
		level = max(0, has.until.Sub(now).Microseconds())
	} else if now.Before(has.until) {
		level = has.level
	}
	full := c.Add > 0 && c.Max > 0 && level+c.Add > c.Max
	if full || c.Look || c.Add == 0 {
		return counts.Count{Level: level, Full: full}
	}
	level = max(0, level+c.Add)
	until := now.Add(c.Keep)
	if c.Keep == 0 {
		until = now.Add(time.Duration(level) * time.Microsecond)
	}
	m.all[c.Key] = memCount{level, until}
	return counts.Count{Level: level}
}

// Interface guard
var _ counts.Counter = (*MemCounter)(nil)
