package nexthop_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// An idle connection that died is replaced before anything is lost.
func TestDeadConnection(t *testing.T) {
	t.Parallel()
	for _, goodbye := range []string{"close", "421 4.4.2 idle too long", "stall"} {
		var first bool
		h := hoptest.New(t, func(h *hoptest.Hop) {
			h.Reply = func(line string) string {
				if !strings.HasPrefix(line, "MAIL") || h.Connections() > 1 {
					return ""
				}
				if first = !first; first {
					return ""
				}
				return goodbye
			}
		})
		r := to(h, func(o *nexthop.Options) {
			if goodbye == "stall" {
				o.Command = 4 * time.Second // long enough for what comes before
			}
		})
		for range 3 {
			d := msatest.NewDelivery([]byte(text), "bob@example.org")
			if err := r.Deliver(t.Context(), d); err != nil || d.Recipients[0].RemoteMTA != "" {
				t.Fatal(err)
			}
		}
		if h.Connections() != 2 || len(h.Messages()) != 3 {
			t.Errorf("%d connections, %d messages", h.Connections(), len(h.Messages()))
		}
	}
	// On a fresh connection it is an error, not a loop.
	h := hoptest.New(t, hoptest.On("MAIL", "close"))
	wantTemporary(t, to(h, nil).Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")), "MAIL")
	if h.Connections() != 1 {
		t.Errorf("%d connections", h.Connections())
	}
}

func TestPool(t *testing.T) {
	deliver := func(r sink) {
		t.Helper()
		if err := r.Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("messages", func(t *testing.T) {
		h := hoptest.New(t, nil)
		r := to(h, func(o *nexthop.Options) { o.Messages = 2 })
		for range 5 {
			deliver(r)
		}
		<-h.Closed
		<-h.Closed
		if h.Connections() != 3 || len(h.Said("QUIT")) != 2 {
			t.Errorf("%d connections, %q", h.Connections(), h.Said("QUIT"))
		}
	})
	t.Run("none", func(t *testing.T) {
		h := hoptest.New(t, nil)
		r := to(h, func(o *nexthop.Options) { o.Idle = -1 })
		deliver(r)
		deliver(r)
		<-h.Closed
		<-h.Closed
	})
	t.Run("idle timeout", func(t *testing.T) {
		h := hoptest.New(t, nil)
		deliver(to(h, func(o *nexthop.Options) { o.IdleTimeout = time.Millisecond }))
		<-h.Closed
		if len(h.Said("QUIT")) != 1 {
			t.Error("no QUIT")
		}
	})
	t.Run("Cleanup", func(t *testing.T) {
		h := hoptest.New(t, nil)
		r := to(h, nil)
		deliver(r)
		r.hosts[0].Close()
		<-h.Closed
		deliver(r) // one that was under way
		<-h.Closed
		if len(h.Said("QUIT")) != 2 {
			t.Error("no QUIT")
		}
	})
}
