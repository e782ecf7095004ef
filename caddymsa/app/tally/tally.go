// Package tally counts what happens, for who looks at this process: how much each minute of the last hour had, and who was
// refused lately. It is bounded whatever strangers do.
package tally

import (
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// Kind is what is counted.
type Kind int

// Kinds.
const (
	Accepted Kind = iota
	Delivered
	Deferred
	Failed
	Refused
	kinds
)

// Time is counted by slots; an hour and a minute are kept.
const (
	slot  = 5 * time.Second
	slots = int(61 * time.Minute / slot)
)

// Rates counts. The zero value is ready.
type Rates struct {
	mu     sync.Mutex
	counts [slots][kinds]uint32
	last   int64 // number of the slot that was counted in last
}

// Count counts n more at a moment.
func (r *Rates) Count(now time.Time, k Kind, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(now)
	r.counts[r.last%int64(slots)][k] += uint32(n)
}

// advance empties the slots since the last one. A clock that was set back counts in the last.
func (r *Rates) advance(now time.Time) {
	at := now.UnixNano() / int64(slot)
	if at-r.last >= int64(slots) {
		r.counts, r.last = [slots][kinds]uint32{}, at
	}
	for r.last < at {
		r.last++
		r.counts[r.last%int64(slots)] = [kinds]uint32{}
	}
}

// LastMinute is what the sixty seconds before now had.
func (r *Rates) LastMinute(now time.Time) adminapi.Tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(now)
	return r.sum(r.last-int64(time.Minute/slot)+1, r.last)
}

// Minutes are the last sixty and the one that runs, the oldest first.
func (r *Rates) Minutes(now time.Time) []adminapi.Minute {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(now)
	const perMinute = int64(time.Minute / slot)
	minute := r.last / perMinute
	all := make([]adminapi.Minute, 0, 61)
	for m := minute - 60; m <= minute; m++ {
		first := max(m*perMinute, r.last-int64(slots)+1)
		all = append(all, adminapi.Minute{Time: time.Unix(m*60, 0).UTC(), Tally: r.sum(first, min(m*perMinute+perMinute-1, r.last))})
	}
	return all
}

func (r *Rates) sum(first, last int64) (t adminapi.Tally) {
	for at := first; at <= last; at++ {
		c := &r.counts[at%int64(slots)]
		t.Accepted += int(c[Accepted])
		t.Delivered += int(c[Delivered])
		t.Deferred += int(c[Deferred])
		t.Failed += int(c[Failed])
		t.Refused += int(c[Refused])
	}
	return t
}
