package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// A reload waits for no delivery: with 100 attempts at next hops that say nothing, one of them behind its end of data,
// it takes no longer than without. What waited for hops that the new configuration does not name goes to the new
// one at once, as its first attempt; what was behind its end of data is finished, and not sent again.
func TestReloadWithSilentHops(t *testing.T) {
	t.Parallel()
	const hops = 99
	var routes strings.Builder
	var connected atomic.Int32
	for n := range hops {
		silent := hoptest.New(t, func(h *hoptest.Hop) {
			h.TLS = nil
			h.Reply = func(line string) string {
				switch line {
				case "connect":
					connected.Add(1)
					return "stall"
				default:
					return ""
				}
			}
		})
		fmt.Fprintf(&routes, "@r%d recipient_domain d%d.test\n deliver @r%d relay %s {\n tls off\n}\n", n, n, n, silent.Addr)
	}
	end := make(chan struct{})
	var behind atomic.Int32
	final := hoptest.New(t, func(h *hoptest.Hop) {
		h.TLS = nil
		h.Reply = func(line string) string {
			if line == "." {
				behind.Add(1)
				select {
				case <-end:
				case <-t.Context().Done():
				}
			}
			return ""
		}
	})
	fmt.Fprintf(&routes, "@final recipient_domain final.test\n deliver @final relay %s {\n tls off\n}\n", final.Addr)
	young := hoptest.New(t, func(h *hoptest.Hop) { h.TLS = nil })

	s := newServer(t)
	s.write("Caddyfile", patient(s.caddyfile(layout{msa: routes.String()})))
	s.writeUsers("")
	s.run()
	trust := s.tlsConfig()
	c, err := s.as(trust, "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	dotted, err := c.submit("alice@example.org", "bob@final.test", letter("behind its dot"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range hops {
		for k := range 2 { // one is tried, one waits
			if _, err := c.submit("alice@example.org", fmt.Sprintf("bob%d@d%d.test", k, n), letter("waits")); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.await("100 attempts", func() bool { return connected.Load() >= hops && behind.Load() == 1 })
	began := time.Now()
	status, answer := s.load(patient(s.caddyfile(layout{msa: "deliver relay " + young.Addr + " {\n tls off\n}"})))
	took := time.Since(began)
	if status != http.StatusOK {
		t.Fatal(status, answer)
	}
	s.await("what waited at the new hop", func() bool { return len(young.Messages()) >= 2*hops })
	t.Logf("the reload took %s, and what waited was at its new hop %s later", took.Round(time.Millisecond), (time.Since(began) - took).Round(time.Millisecond))
	if took > reloadLimit {
		t.Errorf("the reload took %s", took)
	}
	if elapsed := time.Since(began); elapsed > 2*reloadLimit {
		t.Errorf("what waited came after %s", elapsed)
	}
	close(end)
	s.logged(dotted, "delivery delivered", final.Addr)
	s.await("an empty queue", func() bool { return strings.Contains(s.mustMSA("queue", "list"), "no messages") })
	if n := len(young.Messages()); n != 2*hops {
		t.Errorf("%d messages, of %d", n, 2*hops)
	}
	if n := len(final.Messages()); n != 1 {
		t.Errorf("the message behind its dot came %d times", n)
	}
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "delivery delivered") && !strings.Contains(line, `"attempt":1,`) {
			t.Errorf("an attempt was counted that was interrupted: %s", line)
		}
	}
}
