package tableauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// CacheConfig says how long a password that was right stays known to be right.
type CacheConfig struct {
	// TTL is how long; zero or less means that nothing is cached.
	TTL time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// maxCached is how many right passwords are known at most.
const maxCached = 10000

// cache remembers passwords that were right, since an honest hash costs 40 to 60
// times everything else in a submission and clients log in for every message. It
// holds HMACs under a key that dies with the process, over the table's number too,
// so that no entry outlives a change of the table. What was wrong is never
// remembered, so strangers cannot push the owner's entry out.
type cache struct {
	ttl    time.Duration
	now    func() time.Time
	secret [32]byte

	mu      sync.Mutex
	expires map[cacheKey]time.Time
}

type cacheKey [sha256.Size]byte

func newCache(c CacheConfig) *cache {
	if c.TTL <= 0 {
		return nil
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	made := &cache{ttl: c.TTL, now: c.Now, expires: make(map[cacheKey]time.Time)}
	_, _ = rand.Read(made.secret[:])
	return made
}

func (c *cache) key(number uint64, name, password string) (k cacheKey) {
	if c == nil {
		return k
	}
	mac := hmac.New(sha256.New, c.secret[:])
	var head [16]byte // the name's length, so that name and password cannot be shifted
	binary.BigEndian.PutUint64(head[:8], number)
	binary.BigEndian.PutUint64(head[8:], uint64(len(name)))
	mac.Write(head[:])
	mac.Write([]byte(name))
	mac.Write([]byte(password))
	mac.Sum(k[:0])
	return k
}

func (c *cache) has(k cacheKey) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	expires, ok := c.expires[k]
	return ok && c.now().Before(expires)
}

func (c *cache) add(k cacheKey) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if len(c.expires) >= maxCached {
		c.evict(now)
	}
	c.expires[k] = now.Add(c.ttl)
}

// evict makes room: what has expired, and a tenth of the rest.
func (c *cache) evict(now time.Time) {
	for k, expires := range c.expires {
		if !now.Before(expires) {
			delete(c.expires, k)
		}
	}
	for k := range c.expires {
		if len(c.expires) <= maxCached*9/10 {
			return
		}
		delete(c.expires, k)
	}
}
