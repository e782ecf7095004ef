package spoolfile

import (
	"fmt"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What is known of envelopes is bounded, and what was used last stays.
func TestRecentIsBounded(t *testing.T) {
	var k recent
	env := &envelope{octets: recentOctets / 10}
	first := new(entry)
	k.put(first, env, new(queue.Entry))
	for range 100 {
		k.put(new(entry), env, new(queue.Entry))
		if k.get(first) == nil {
			t.Fatal("forgotten although it was used")
		}
	}
	if len(k.m) != 10 || k.octets > recentOctets {
		t.Errorf("%d are known, %d octets", len(k.m), k.octets)
	}
	k.forget(first)
	if k.get(first) != nil || k.octets != 9*env.octets {
		t.Errorf("not forgotten, %d octets", k.octets)
	}
	large := new(entry)
	k.put(large, &envelope{octets: 2 * recentOctets}, new(queue.Entry))
	if len(k.m) != 1 || k.get(large) == nil {
		t.Errorf("%d are known", len(k.m))
	}
}

// A message's envelope is not read again to deliver it; nothing stays known of what has ended.
func TestRecentUntilEnded(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 5 {
		if err := acceptAndDeliver(s, fmt.Sprintf("Q%d", i), []byte("x"), 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.recent.m) != 0 || s.recent.octets != 0 || s.recent.first != nil || s.recent.last != nil {
		t.Errorf("%d are known", len(s.recent.m))
	}
}
