package sinkrelay

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// An idle connection that died is replaced before anything is lost.
func TestDeadConnection(t *testing.T) {
	for _, goodbye := range []string{"close", "421 4.4.2 idle too long"} {
		var first bool
		h := newHop(t, func(h *hop) {
			h.reply = func(line string) string {
				if !strings.HasPrefix(line, "MAIL") || h.connections() > 1 {
					return ""
				}
				if first = !first; first {
					return ""
				}
				return goodbye
			}
		})
		r := h.sink(nil)
		for range 3 {
			d := msatest.NewDelivery([]byte(text), "bob@example.org")
			if err := r.Deliver(t.Context(), d); err != nil || d.Recipients[0].RemoteMTA != "" {
				t.Fatal(err)
			}
		}
		if h.connections() != 2 || len(h.fetch()) != 3 {
			t.Errorf("%d connections, %d messages", h.connections(), len(h.fetch()))
		}
	}
	// On a fresh connection it is an error, not a loop.
	h := newHop(t, on("MAIL", "close"))
	wantTemporary(t, h.sink(nil).Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")), "MAIL")
	if h.connections() != 1 {
		t.Errorf("%d connections", h.connections())
	}
}

func TestPool(t *testing.T) {
	deliver := func(r *Relay) {
		t.Helper()
		if err := r.Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("messages", func(t *testing.T) {
		h := newHop(t, nil)
		r := h.sink(func(r *Relay) { r.Messages = 2 })
		for range 5 {
			deliver(r)
		}
		<-h.closed
		<-h.closed
		if h.connections() != 3 || len(h.said("QUIT")) != 2 {
			t.Errorf("%d connections, %q", h.connections(), h.said("QUIT"))
		}
	})
	t.Run("none", func(t *testing.T) {
		h := newHop(t, nil)
		r := h.sink(func(r *Relay) { r.Connections = -1 })
		deliver(r)
		deliver(r)
		<-h.closed
		<-h.closed
	})
	t.Run("idle timeout", func(t *testing.T) {
		h := newHop(t, nil)
		deliver(h.sink(func(r *Relay) { r.IdleTimeout = caddy.Duration(time.Millisecond) }))
		<-h.closed
		if len(h.said("QUIT")) != 1 {
			t.Error("no QUIT")
		}
	})
	t.Run("Cleanup", func(t *testing.T) {
		h := newHop(t, nil)
		r := h.sink(nil)
		deliver(r)
		_ = r.Cleanup()
		<-h.closed
		deliver(r) // one that was under way
		<-h.closed
		if len(h.said("QUIT")) != 2 {
			t.Error("no QUIT")
		}
	})
}
