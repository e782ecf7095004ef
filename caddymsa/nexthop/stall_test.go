package nexthop_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// A next hop that says nothing costs no more than the timeout, whatever it was
// to say; nothing after the end of the context.
func TestStalls(t *testing.T) {
	large := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<18))
	for _, at := range []string{"connect", "EHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "body", "."} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			h := hoptest.New(t, hoptest.On(at, "stall"))
			timeout := 50 * time.Millisecond
			r := to(h, func(o *nexthop.Options) { o.Greeting, o.Command, o.Data, o.End = timeout, timeout, timeout, timeout })
			wantTemporary(t, r.Deliver(t.Context(), msatest.NewDelivery(large, "bob@example.org")), "i/o timeout")

			ctx, cancel := context.WithCancel(t.Context())
			h = hoptest.New(t, func(h *hoptest.Hop) {
				hoptest.On(at, "stall")(h)
				reply := h.Reply
				h.Reply = func(line string) string {
					if s := reply(line); s != "" {
						cancel()
						return s
					}
					return ""
				}
			})
			err := to(h, nil).Deliver(ctx, msatest.NewDelivery(large, "bob@example.org"))
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
		h := hoptest.New(t, hoptest.On(at, strings.Repeat("250-and another thing\r\n", 1<<16)))
		err := to(h, nil).Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org"))
		wantTemporary(t, err, "")
	}
}
