package journal

import (
	"encoding/json"
	"sync"
	"time"
)

// Bounds of what Note keeps: a part of the journal that fills up at an even rate, of which a tenth may come at once.
const (
	noteShare   = 10 // of MaxSize a tenth
	noteBurst   = 10
	noteWaiting = 1000 // facts that wait to be written
)

// Notes is the part of a Noter that every spool has: it holds what Note was given until it is written, within the
// quota. The zero value is ready.
type Notes struct {
	mu      sync.Mutex
	limits  Limits
	waiting []Fact
	budget  float64 // octets
	at      time.Time
	since   time.Time // the oldest waits
	dropped int64
}

// SetLimits is Keeper's.
func (n *Notes) SetLimits(l Limits) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.limits, n.at = l, time.Time{}
}

// Add takes facts in, or drops them.
func (n *Notes) Add(now time.Time, facts ...Fact) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.limits.Off {
		return
	}
	n.refill(now)
	for i := range facts {
		text, err := json.Marshal(&facts[i])
		if err != nil || len(n.waiting) >= noteWaiting || n.budget < float64(len(text)) {
			n.dropped++
			continue
		}
		if len(n.waiting) == 0 {
			n.since = now
		}
		n.budget -= float64(len(text))
		n.waiting = append(n.waiting, facts[i])
	}
}

func (n *Notes) refill(now time.Time) {
	keep, size := n.limits.Keep, n.limits.MaxSize
	if keep == 0 {
		keep = DefaultKeep
	}
	if size == 0 {
		size = DefaultMaxSize
	}
	share := float64(size) / noteShare
	switch passed := now.Sub(n.at); {
	case n.at.IsZero():
		n.budget = share / noteBurst
	case passed > 0:
		n.budget = min(share/noteBurst, n.budget+share*passed.Seconds()/keep.Seconds())
	}
	n.at = now
}

// Take gives what waits to whoever writes it.
func (n *Notes) Take() []Fact {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.waiting
	n.waiting = nil
	return all
}

// Stat is how many wait, since when, and how many were not kept.
func (n *Notes) Stat() (s Stat) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Dropped, s.Waiting = n.dropped, len(n.waiting)
	if s.Waiting > 0 {
		s.Since = n.since
	}
	return s
}

// Drop counts facts that could not be written.
func (n *Notes) Drop(facts int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dropped += int64(facts)
}
