// Package authcache remembers passwords that were right, since an honest hash costs 40 to 60
// times everything else in a submission and clients log in for every message. What was wrong
// is never remembered, so strangers cannot push the owner's answer out. It knows nothing of
// Caddy.
package authcache

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// DefaultTTL is for backends whose data is local, so that a change is known at once.
const DefaultTTL = 5 * time.Minute

// MaxEntries is how many right passwords a cache knows at most, about 1 MiB.
const MaxEntries = 10000

// Cache belongs to one backend of one configuration, and ends with it. It may be used
// concurrently. A nil *Cache knows nothing and takes nothing.
//
// A hit says only that the password was right. Whether the user is enabled, and may come
// from there, is for the caller to ask every time.
type Cache struct {
	ttl    time.Duration
	now    func() time.Time
	secret [32]byte

	mu      sync.Mutex
	expires map[Key]time.Time
}

// Key stands for a user's password in a revision of the backend's data. It is an HMAC under
// a random key of the cache's own, so no password can be guessed from it.
type Key [sha256.Size]byte

// New returns a cache that knows a password for ttl, or nil, which is no cache, if ttl is not
// positive. now is the clock; nil means time.Now.
func New(ttl time.Duration, now func() time.Time) *Cache {
	if ttl <= 0 {
		return nil
	}
	if now == nil {
		now = time.Now
	}
	c := &Cache{ttl: ttl, now: now, expires: make(map[Key]time.Time)}
	_, _ = rand.Read(c.secret[:]) // never fails
	return c
}

// Key returns what stands for the password. A change of revision ends all answers.
func (c *Cache) Key(revision uint64, user, password string) (k Key) {
	if c == nil {
		return k
	}
	mac := hmac.New(sha256.New, c.secret[:])
	var head [16]byte // with the user's length, so that user and password cannot be shifted
	binary.BigEndian.PutUint64(head[:8], revision)
	binary.BigEndian.PutUint64(head[8:], uint64(len(user)))
	mac.Write(head[:])
	mac.Write([]byte(user))
	mac.Write([]byte(password))
	mac.Sum(k[:0])
	return k
}

// Has tells whether the password was right at most a TTL ago.
func (c *Cache) Has(k Key) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	expires, ok := c.expires[k]
	return ok && c.now().Before(expires)
}

// Add remembers that the password was right, from now on.
func (c *Cache) Add(k Key) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if len(c.expires) >= MaxEntries {
		c.evict(now)
	}
	c.expires[k] = now.Add(c.ttl)
}

// evict makes room: what has expired goes, and more until a tenth is free, so that a full
// cache is not searched for every answer.
func (c *Cache) evict(now time.Time) {
	for k, expires := range c.expires {
		if !now.Before(expires) {
			delete(c.expires, k)
		}
	}
	for k := range c.expires {
		if len(c.expires) <= MaxEntries*9/10 {
			return
		}
		delete(c.expires, k)
	}
}
