package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/integration/bench/distance"
)

// A message takes two round trips to a hop that is there, also with TLS and log-in, and also when messages come
// one at a time.
func TestRelayRoundTrips(t *testing.T) {
	for name, secure := range map[string]bool{"clear": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			credential, err := sasl.NewSCRAMCredential("s3cret", []byte("0123456789abcdef"), 4096)
			if err != nil {
				t.Fatal(err)
			}
			hop := hoptest.New(t, func(h *hoptest.Hop) {
				if !secure {
					h.TLS = nil
					return
				}
				h.Auth = map[string]func() gosasl.Server{"SCRAM-SHA-256": func() gosasl.Server {
					return sasl.NewSCRAM(sasl.SCRAMConfig{Lookup: func(string) (sasl.SCRAMCredential, error) { return credential, nil }})
				}}
			})
			proxy, err := distance.Listen(hop.Addr, 5*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = proxy.Close() })
			options := "tls off"
			if secure {
				options = "insecure_skip_verify\n auth alice s3cret"
			}
			s := start(t, layout{msa: "@far recipient_domain example.net\ndeliver @far relay " + proxy.Addr + " {\n" + options + "\n}\n"})
			message := "From: alice@example.org\r\nSubject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 56)
			trust := s.tlsConfig()
			c, err := s.as(trust, "alice@example.org")
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			one := func(i int) {
				t.Helper()
				if _, err := c.submit("alice@example.org", "bob@example.net", message); err != nil {
					t.Fatal(err)
				}
				// Whoever has had the hop's reply is ready for the next message.
				s.await("the hop's reply", func() bool { return strings.Count(s.log.String(), "delivery delivered") >= i })
			}
			one(1)
			before := proxy.Turns()
			const singles = 50
			for i := range singles {
				one(i + 2)
			}
			turns := float64(proxy.Turns()-before) / singles
			t.Logf("single messages: %.2f round trips each, %d connections", turns, proxy.Conns())
			if turns > 2.5 {
				t.Errorf("%.2f round trips for a single message", turns)
			}

			const sessions, each = 16, 50
			total := len(hop.Messages()) + sessions*each
			before = proxy.Turns()
			began := time.Now()
			var wg sync.WaitGroup
			for range sessions {
				wg.Go(func() {
					c, err := s.as(trust, "alice@example.org")
					if err != nil {
						t.Error(err)
						return
					}
					defer c.close()
					for range each {
						if _, err := c.submit("alice@example.org", "bob@example.net", message); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			accepted := time.Since(began)
			awaitFor(t, 4*patience, fmt.Sprintf("%d messages", total), func() bool { return len(hop.Messages()) >= total })
			took := time.Since(began)
			turns = float64(proxy.Turns()-before) / (sessions * each)
			t.Logf("%d messages: accepted in %.1f s, relayed at %.0f/s, %.2f round trips each, %d connections", sessions*each, accepted.Seconds(), sessions*each/took.Seconds(), turns, proxy.Conns())
			if turns > 2.5 {
				t.Errorf("%.2f round trips for one of many messages", turns)
			}
		})
	}
}

// The next hop hears the server's hostname, not its name in the configuration.
func TestRelayHello(t *testing.T) {
	t.Parallel()
	hop := hoptest.New(t, func(h *hoptest.Hop) { h.TLS = nil })
	s := start(t, layout{msa: "deliver relay " + hop.Addr + " {\ntls off\n}\n"})
	status, servers := s.adminRequest(http.MethodGet, "/config/apps/msa/servers", "")
	renamed := strings.Replace(servers, `{"`+hostname+`":`, `{"submission":`, 1)
	if status != http.StatusOK || renamed == servers {
		t.Fatalf("%d: %s", status, servers)
	}
	if status, answer := s.adminRequest(http.MethodPost, "/config/apps/msa/servers", renamed); status != http.StatusOK {
		t.Fatalf("%d: %s", status, answer)
	}
	s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter("hello"))
	s.await("the message", func() bool { return len(hop.Messages()) == 1 })
	if said := hop.Said("EHLO"); said[0] != "EHLO "+hostname {
		t.Errorf("%q", said)
	}
}
