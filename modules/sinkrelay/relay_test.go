package sinkrelay

import (
	"context"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var caddyContext = caddy.Context{Context: context.Background()}

const text = "Subject: test\r\n\r\nHello.\r\n"

func TestConformance(t *testing.T) {
	for name, set := range map[string]func(*hoptest.Hop){
		"STARTTLS": nil,
		"implicit": func(h *hoptest.Hop) { h.Implicit = true },
		"clear":    func(h *hoptest.Hop) { h.TLS = nil },
	} {
		t.Run(name, func(t *testing.T) {
			msatest.Sink(t, func(t testing.TB) (queue.Sink, func() [][]byte) {
				h := hoptest.New(t, set)
				return sink(h, func(r *Relay) {
					if h.TLS == nil {
						r.TLS, r.CA = nexthop.TLSOff, nil
					}
				}), h.Messages
			})
		})
	}
}

// wantTemporary checks that err is not a reply and says what.
func wantTemporary(t *testing.T, err error, what string) {
	t.Helper()
	if err == nil || msatest.IsPermanent(err) || nexthop.ReplyOf(err) != nil || !strings.Contains(err.Error(), what) {
		t.Errorf("want a temporary error with %q, have %v", what, err)
	}
}

// sink returns a relay to a hop.
func sink(h *hoptest.Hop, set func(*Relay)) *Relay {
	h.T.Helper()
	r := &Relay{Host: h.Addr, TLSClient: conf.TLSClient{CA: []string{h.Root}}}
	if h.Implicit {
		r.TLS = nexthop.TLSImplicit
	}
	if set != nil {
		set(r)
	}
	if err := r.Provision(caddyContext); err != nil {
		h.T.Fatal(err)
	}
	h.T.Cleanup(func() { _ = r.Cleanup() })
	return r
}
