package policyrate

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
)

// left writes quotas as "messages/1h 3 of 5".
func left(p *RateLimit, counter counts.Counter, user, ip string, attributes map[string]string) string {
	s := msatest.NewSubmission(user, "")
	s.Identity.Attributes, s.Counter, s.RemoteIP = attributes, counter, netip.Addr{}
	if ip != "" {
		s.RemoteIP = netip.MustParseAddr(ip)
	}
	var all []string
	for range 2 { // to ask changes nothing
		all = nil
		for _, q := range p.Quotas(context.Background(), s) {
			text := fmt.Sprintf("%s/%s %d of %d", q.What, q.Per, q.Left, q.Allowed)
			switch {
			case q.Problem != "":
				text = fmt.Sprintf("%s/%s ?", q.What, q.Per)
			case q.Unlimited:
				text = fmt.Sprintf("%s/%s any", q.What, q.Per)
			}
			if !q.Back.IsZero() {
				text += " back in " + q.Back.Sub(p.now()).Round(time.Minute).String()
			}
			all = append(all, strings.TrimSpace(text+" "+q.By))
		}
	}
	return strings.Join(all, ", ")
}

// What is left is what may still be submitted, in this process and where nodes share their buckets.
func TestQuotas(t *testing.T) {
	gold := map[string]string{"per_hour": "6", "per_day": "unlimited", "rcpts": "20", "size": "2kB"}
	for _, shared := range []bool{false, true} {
		p, later := tariff(t, tariffBlock)
		var counter counts.Counter
		if shared {
			counter = &msatest.MemCounter{Now: func() time.Time { return p.now() }}
			in := sharing.Sharing{Spool: &sharing.Spool{}}
			var err error
			if p.shared, err = in.Open("rate", p.log); err != nil {
				t.Fatal(err)
			}
		}
		submit := func(user string, attributes map[string]string) {
			s := msatest.NewSubmission(user, user+"@example.org")
			s.Identity.Attributes, s.Counter = attributes, counter
			if err := msatest.Submit(context.Background(), p, s, []string{"a@example.net", "b@example.net"}, msatest.NewMessage("x")); err != nil {
				t.Fatal(err)
			}
			s.End(true)
		}
		check := func(user string, attributes map[string]string, want string) {
			t.Helper()
			if got := left(p, counter, user, "", attributes); got != want {
				t.Errorf("shared %v: %s:\n%s, want\n%s", shared, user, got, want)
			}
		}
		check("bob", nil, "messages/1h 3 of 3, messages/24h 5 of 5, recipients/24h 40 of 40, recipients/message 10 of 10, bytes/message 1000 of 1000")
		submit("bob", nil)
		submit("bob", nil)
		submit("alice", gold)
		check("bob", nil, "messages/1h 1 of 3 back in 40m0s, messages/24h 3 of 5 back in 9h36m0s, recipients/24h 36 of 40 back in 2h24m0s, recipients/message 10 of 10, bytes/message 1000 of 1000")
		check("alice", gold, "messages/1h 5 of 6 back in 10m0s, messages/24h any, recipients/24h 38 of 40 back in 1h12m0s, recipients/message 20 of 20, bytes/message 2000 of 2000")
		check("barred", map[string]string{"per_hour": "0"}, "messages/1h 0 of 0, messages/24h 5 of 5, recipients/24h 40 of 40, recipients/message 10 of 10, bytes/message 1000 of 1000")
		later(20 * time.Minute)
		check("bob", nil, "messages/1h 2 of 3 back in 20m0s, messages/24h 3 of 5 back in 9h16m0s, recipients/24h 36 of 40 back in 2h4m0s, recipients/message 10 of 10, bytes/message 1000 of 1000")
	}
}

// Whose count it is, as far as that is known without a message.
func TestQuotaOwner(t *testing.T) {
	acme := map[string]string{"org": "acme"}
	for by, want := range map[string]string{
		"user": "messages/1h 2 of 2", "server": "messages/1h 2 of 2 server", "network": "messages/1h ? network", "sender_domain": "messages/1h ? sender_domain",
		"recipient_domain": "messages/1h ? recipient_domain", "{msa.identity.attributes.org}": "messages/1h 2 of 2 org acme", "{msa.identity.attributes.none}": "messages/1h 2 of 2",
	} {
		p, _ := tariff(t, "messages 2\nwindow 1h\nby "+by)
		if got := left(p, nil, "alice", "", acme); got != want {
			t.Errorf("%s: %s", by, got)
		}
	}
	p, _ := tariff(t, "messages 2\nwindow 1h\nby network")
	if got := left(p, nil, "alice", "192.0.2.7", nil); got != "messages/1h 2 of 2 network" {
		t.Error(got)
	}
	p, _ = tariff(t, "messages {msa.identity.attributes.n}\nwindow 1h")
	if got := left(p, nil, "alice", "", nil); got != "messages/1h ?" {
		t.Error(got)
	}
}
