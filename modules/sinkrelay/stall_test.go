package sinkrelay

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// A next hop that says nothing costs no more than the timeout, whatever it was
// to say; nothing after the end of the context.
func TestStalls(t *testing.T) {
	large := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<18))
	for _, at := range []string{"connect", "EHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "body", "."} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			h := newHop(t, on(at, "stall"))
			timeout := caddy.Duration(50 * time.Millisecond)
			r := h.sink(func(r *Relay) { r.Timeouts = Timeouts{timeout, timeout, timeout, timeout, timeout} })
			wantTemporary(t, r.Deliver(t.Context(), msatest.NewDelivery(large, "bob@example.org")), "i/o timeout")

			ctx, cancel := context.WithCancel(t.Context())
			h = newHop(t, func(h *hop) {
				on(at, "stall")(h)
				reply := h.reply
				h.reply = func(line string) string {
					if s := reply(line); s != "" {
						cancel()
						return s
					}
					return ""
				}
			})
			err := h.sink(nil).Deliver(ctx, msatest.NewDelivery(large, "bob@example.org"))
			wantTemporary(t, err, "context canceled")
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// A next hop that never ends a reply costs no memory to speak of.
func TestEndlessReply(t *testing.T) {
	for _, at := range []string{"connect", "EHLO", "MAIL"} {
		h := newHop(t, on(at, strings.Repeat("250-and another thing\r\n", 1<<16)))
		err := h.sink(nil).Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org"))
		wantTemporary(t, err, "")
	}
}
