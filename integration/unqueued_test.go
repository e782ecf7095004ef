package integration

import (
	"sync/atomic"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// A route that is unqueued takes a place in its lane like others: at a hop that takes one message at a time, and has one,
// the client hears 451 4.4.1 in time, and the next hop is not asked; when there is room, its answer is the client's.
func TestUnqueuedTakesAPlace(t *testing.T) {
	t.Parallel()
	free := make(chan struct{})
	var held atomic.Int32
	hop := hoptest.New(t, func(h *hoptest.Hop) {
		h.TLS = nil
		h.Reply = func(line string) string {
			if line == "." && held.Add(1) == 1 {
				select {
				case <-free:
				case <-t.Context().Done():
				}
			}
			return ""
		}
	})
	// Routes of one name and destination share a lane.
	relay := "relay " + hop.Addr + " {\nconcurrency 1\ntls off\n"
	s := start(t, layout{msa: `
	@queued recipient_domain queued.example
	deliver @queued ` + relay + `}
	@now recipient_domain now.example
	deliver @now ` + relay + `unqueued 20s
	}`})
	c, err := s.as(s.tlsConfig(), "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	first, err := c.submit("alice@example.org", "bob@queued.example", letter("takes its time"))
	if err != nil {
		t.Fatal(err)
	}
	s.await("the first message", func() bool { return held.Load() == 1 })
	now := func(want string) {
		t.Helper()
		if err := all(
			func() error { return c.envelope("alice@example.org", "bob@now.example") },
			func() error { return c.do("354", "DATA") },
			func() error { return c.do(want, letter("now")+".") },
		); err != nil {
			t.Error(err)
		}
	}
	now("451 4.4.1")
	if n := len(hop.Said("MAIL")); n != 1 {
		t.Errorf("the hop was asked %d times", n)
	}
	close(free)
	s.logged(first, "delivery delivered")
	now("250 2.0.0")
}
