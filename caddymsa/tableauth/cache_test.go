package tableauth

import (
	"strconv"
	"testing"
	"time"
)

func TestCacheExpires(t *testing.T) {
	now := time.Now()
	c := newCache(CacheConfig{TTL: time.Minute, Now: func() time.Time { return now }})
	k := c.key(1, "alice", "secret")
	c.add(k)
	if !c.has(k) || c.has(c.key(1, "alice", "other")) || c.has(c.key(2, "alice", "secret")) || c.has(c.key(1, "alices", "ecret")) {
		t.Error("the cache does not know what it should, or more")
	}
	now = now.Add(time.Minute)
	if c.has(k) {
		t.Error("known after its time")
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(CacheConfig{TTL: time.Minute})
	for i := range 2 * maxCached {
		c.add(c.key(1, "alice", strconv.Itoa(i)))
	}
	if n := len(c.expires); n > maxCached || n < maxCached/2 {
		t.Errorf("%d entries", n)
	}
}

func TestNoCache(t *testing.T) {
	c := newCache(CacheConfig{})
	k := c.key(1, "alice", "secret")
	c.add(k)
	if c != nil || c.has(k) {
		t.Error("something was cached without a TTL")
	}
}
