package authcache

import (
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestExpires(t *testing.T) {
	now := time.Now()
	c := New(time.Minute, func() time.Time { return now })
	k := c.Key(1, "alice", "secret")
	c.Add(k)
	now = now.Add(time.Minute - 1)
	if !c.Has(k) {
		t.Error("forgotten before its time")
	}
	now = now.Add(1)
	if c.Has(k) {
		t.Error("known after its time")
	}
	c.Add(k)
	if !c.Has(k) {
		t.Error("not known again")
	}
}

// Nothing else is known than what was added.
func TestKeys(t *testing.T) {
	c := New(time.Minute, nil)
	c.Add(c.Key(1, "alice", "secret"))
	for _, k := range []Key{
		c.Key(1, "alice", "other"), c.Key(1, "bob", "secret"), c.Key(2, "alice", "secret"),
		c.Key(1, "alices", "ecret"), c.Key(1, "alic", "esecret"), c.Key(1, "", "alicesecret"),
		New(time.Minute, nil).Key(1, "alice", "secret"), // of another backend
		{},
	} {
		if c.Has(k) {
			t.Errorf("%x was never added", k)
		}
	}
}

func TestBounded(t *testing.T) {
	now := time.Now()
	c := New(time.Minute, func() time.Time { return now })
	for i := range 2 * MaxEntries {
		k := c.Key(1, "alice", strconv.Itoa(i))
		c.Add(k)
		if !c.Has(k) {
			t.Fatal("the newest entry is not known")
		}
		if len(c.expires) > MaxEntries {
			t.Fatalf("%d entries", len(c.expires))
		}
	}
	if n := len(c.expires); n < MaxEntries/2 {
		t.Errorf("only %d entries are left", n)
	}
	now = now.Add(time.Hour)
	for i := range MaxEntries {
		c.Add(c.Key(2, "alice", strconv.Itoa(i)))
	}
	for i := range MaxEntries {
		if !c.Has(c.Key(2, "alice", strconv.Itoa(i))) {
			t.Fatal("an entry had to go, though enough had expired")
		}
	}
}

func TestOff(t *testing.T) {
	for _, ttl := range []time.Duration{0, -1} {
		c := New(ttl, nil)
		k := c.Key(1, "alice", "secret")
		c.Add(k)
		if c != nil || c.Has(k) {
			t.Error("something was remembered")
		}
	}
}

func TestConcurrently(t *testing.T) {
	c := New(time.Minute, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				k := c.Key(uint64(i), "alice", strconv.Itoa(j))
				if c.Has(k) {
					t.Error("known too early")
				}
				c.Add(k)
				if !c.Has(k) {
					t.Error("not known")
				}
			}
		})
	}
	wg.Wait()
}
