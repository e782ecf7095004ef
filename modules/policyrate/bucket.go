package policyrate

import (
	"hash/maphash"
	"sync"
	"time"
)

// rate is a token bucket's measure: so many in a window, and how many at once.
type rate struct {
	limit, burst int64
	window       time.Duration
	longest      time.Duration // that a bucket takes to fill, of whichever tariff
}

// cost is how long it takes until n are there again.
func (r rate) cost(n int64) time.Duration {
	return time.Duration(float64(n) * float64(r.window) / float64(r.limit))
}

// depth is how long a full bucket takes to fill.
func (r rate) depth() time.Duration { return r.cost(r.burst) }

// take is the rule for both tables (the generic cell rate algorithm): full is when the bucket will
// be full again, in nanoseconds. It returns the next such time, or how long to wait.
func take(full, now int64, cost, depth time.Duration) (next int64, wait time.Duration) {
	next = max(full, now) + int64(cost)
	if wait = time.Duration(next-now) - depth; wait > 0 {
		return full, wait
	}
	return next, 0
}

// maxKeys bounds the buckets of a table, which take some 60 octets each.
const maxKeys = 200_000

// shards keep users out of each other's way.
const shards = 64

// table has the buckets that are not full.
type table struct {
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	sync.Mutex
	full map[string]int64
}

func newTable() *table { return &table{seed: maphash.MakeSeed()} }

func (t *table) shard(key string) *shard { return &t.shards[maphash.String(t.seed, key)%shards] }

// Destruct implements caddy.Destructor.
func (*table) Destruct() error { return nil }

// take takes from the bucket, or says how long to wait. With peek it takes nothing.
func (t *table) take(key string, r rate, cost time.Duration, now time.Time, peek bool) time.Duration {
	s := t.shard(key)
	s.Lock()
	defer s.Unlock()
	at := now.UnixNano()
	next, wait := take(s.fullAt(key, r, at), at, cost, r.depth())
	if wait > 0 || peek {
		return wait
	}
	if s.full == nil {
		s.full = make(map[string]int64)
	}
	if _, there := s.full[key]; !there && len(s.full) >= maxKeys/shards {
		makeRoom(s.full, at)
	}
	s.full[key] = next
	return 0
}

// fullAt is when the bucket will be full again, or was. It is later than can be if the clock was set back, which would close the bucket until
// then.
func (s *shard) fullAt(key string, r rate, now int64) int64 {
	full := s.full[key]
	if most := now + int64(r.longest); full > most {
		full = most
		s.full[key] = full
	}
	return full
}

// makeRoom forgets buckets that are full, and some others if there are none: then a flood of keys
// gives somebody more than the limit, rather than take memory without end.
func makeRoom(full map[string]int64, now int64) {
	for key, at := range full {
		if at <= now {
			delete(full, key)
		}
	}
	for key := range full {
		if len(full) < maxKeys/shards*9/10 {
			return
		}
		delete(full, key)
	}
}

// giveBack puts back what was taken for nothing.
func (t *table) giveBack(key string, cost time.Duration, now time.Time) {
	s := t.shard(key)
	s.Lock()
	defer s.Unlock()
	if full, ok := s.full[key]; ok {
		if full -= int64(cost); full <= now.UnixNano() {
			delete(s.full, key)
			return
		}
		s.full[key] = full
	}
}
