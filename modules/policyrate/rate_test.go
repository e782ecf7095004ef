package policyrate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, p *RateLimit) (*RateLimit, *atomic.Int64) {
	t.Helper()
	if p.Name == "" {
		p.Name = fmt.Sprintf("%s-%p", t.Name(), p)
	}
	if err := p.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Cleanup() })
	clock := new(atomic.Int64)
	clock.Store(noon.UnixNano())
	p.now = func() time.Time { return time.Unix(0, clock.Load()) }
	return p, clock
}

// submit sends a message of so many octets to recipients and says what was refused.
func submit(p *RateLimit, user string, octets int, end bool, to ...string) *caddymsa.Refusal {
	s := msatest.NewSubmission(user, user+"@example.org")
	err := msatest.Submit(context.Background(), p, s, to, msatest.NewMessage(strings.Repeat("x", octets)))
	s.End(err == nil && end)
	r, _ := errors.AsType[*caddymsa.Refusal](err)
	if err != nil && r == nil {
		panic(err)
	}
	return r
}

// there is no limit but the operator's, and it refills steadily.
func TestMessages(t *testing.T) {
	p, clock := open(t, &RateLimit{Messages: "60", Window: conf.Duration(time.Minute), Burst: 50})
	taken := func(user string) (n int) {
		for submit(p, user, 10, true, "bob@example.net") == nil {
			n++
		}
		return n
	}
	if n := taken("alice"); n != 30 {
		t.Errorf("a burst of %d", n)
	}
	r := submit(p, "alice", 10, true, "bob@example.net")
	if r == nil || r.Code != 450 || r.Status != (smtp.EnhancedCode{4, 7, 1}) || r.Rule != "messages" || r.Text != "Too many messages: 60 in 1m are allowed, come back in 1 s" {
		t.Errorf("%v", r)
	}
	if n := taken("bob"); n != 30 {
		t.Errorf("another user has %d", n)
	}
	clock.Add(int64(10 * time.Second))
	if n := taken("alice"); n != 10 {
		t.Errorf("%d after 10 s", n)
	}
	clock.Add(int64(time.Hour))
	if n := taken("alice"); n != 30 {
		t.Errorf("%d after an hour", n)
	}
}

// What is not accepted costs nothing.
func TestGivenBack(t *testing.T) {
	p, _ := open(t, &RateLimit{Messages: "2", Recipients: "4", Bytes: "100", Window: conf.Duration(time.Hour)})
	for range 10 {
		if r := submit(p, "alice", 50, false, "a@example.net", "b@example.net"); r != nil {
			t.Fatal(r)
		}
		if r := submit(p, "alice", 10, true, "a@example.net", "b@example.net", "c@example.net", "d@example.net", "e@example.net"); r == nil || r.Rule != "recipients" {
			t.Fatal(r)
		}
	}
	for range 2 {
		if r := submit(p, "alice", 50, true, "a@example.net", "b@example.net"); r != nil {
			t.Error("refused within the limit:", r)
		}
	}
	if r := submit(p, "alice", 1, true, "a@example.net"); r == nil || r.Rule != "messages" {
		t.Error(r)
	}
}

// A recipient whom another policy refused costs nothing either, though the message is accepted for others.
func TestRefusedRecipientGivenBack(t *testing.T) {
	for _, by := range []string{byUser, byRecipientDomain} {
		p, _ := open(t, &RateLimit{Messages: "8", Recipients: "6", Window: conf.Duration(time.Hour), By: by})
		for i := range 4 {
			s := msatest.NewSubmission("alice", "alice@example.org")
			for _, refused := range []string{"eve@example.com", "bob@example.net"} { // the second is accepted when it comes again
				if err := p.CheckRecipient(context.Background(), s, &queue.Recipient{Address: refused}); err != nil {
					t.Errorf("by %s, message %d: %v", by, i, err)
				}
			}
			err := msatest.Submit(context.Background(), p, s, []string{"bob@example.net"}, msatest.NewMessage("x"))
			if err != nil {
				t.Errorf("by %s, message %d: %v", by, i, err)
			}
			s.End(err == nil)
		}
		left := 2 // of bob's domain
		if by == byUser {
			left = 0
			if r := submit(p, "alice", 1, true, "eve@example.com", "eve@example.com"); r != nil {
				t.Error(r)
			}
		} else if r := submit(p, "alice", 1, true, "1@example.com", "2@example.com", "3@example.com", "4@example.com", "5@example.com", "6@example.com"); r != nil {
			t.Error(r)
		}
		for range left {
			if r := submit(p, "alice", 1, true, "bob@example.net"); r != nil {
				t.Error(r)
			}
		}
		if r := submit(p, "alice", 1, true, "bob@example.net"); r == nil || r.Rule != recipients {
			t.Errorf("by %s: more than there may be: %v", by, r)
		}
	}
}

// Octets are foretold by SIZE, counted at the end, and what never fits is refused for good.
func TestBytes(t *testing.T) {
	p, clock := open(t, &RateLimit{Bytes: "1000", Window: conf.Duration(time.Minute), Reject: true})
	if r := submit(p, "alice", 600, true, "bob@example.net"); r != nil {
		t.Fatal(r)
	}
	s := msatest.NewSubmission("alice", "")
	s.DeclaredSize = 500
	for range 2 { // looking takes nothing
		if r, ok := errors.AsType[*caddymsa.Refusal](p.CheckSender(context.Background(), s)); !ok || r.Code != 550 || r.Rule != "bytes" {
			t.Errorf("%v", r)
		}
	}
	s.DeclaredSize = 400
	if err := p.CheckSender(context.Background(), s); err != nil {
		t.Error(err)
	}
	if r := submit(p, "alice", 401, true, "bob@example.net"); r == nil || r.Code != 550 {
		t.Error(r)
	}
	clock.Add(int64(time.Minute))
	if r := submit(p, "alice", 1001, true, "bob@example.net"); r == nil || r.Code != 552 {
		t.Error(r)
	}
}

func TestBy(t *testing.T) {
	check := func(by string, change func(s *caddymsa.Submission), to string, same bool) {
		t.Helper()
		p, _ := open(t, &RateLimit{Messages: "1", Window: conf.Duration(time.Hour), By: by})
		for i, want := range []bool{true, !same} {
			s := msatest.NewSubmission("alice", "alice@example.org")
			if i == 1 {
				change(s)
			} else if to != "" {
				to = "x@" + to
			}
			rcpt := "bob@example.net"
			if i == 1 && to != "" {
				rcpt = to
			}
			err := msatest.Submit(context.Background(), p, s, []string{rcpt}, msatest.NewMessage("x"))
			s.End(err == nil)
			if (err == nil) != want {
				t.Errorf("by %s, submission %d: %v", by, i, err)
			}
		}
	}
	check("user", func(s *caddymsa.Submission) { s.Identity.User = "bob" }, "", false)
	check("user", func(s *caddymsa.Submission) { s.RemoteIP = netip.MustParseAddr("198.51.100.1") }, "", true)
	check("network", func(s *caddymsa.Submission) { s.Identity.User = "bob" }, "", true)
	check("network", func(s *caddymsa.Submission) { s.RemoteIP = netip.MustParseAddr("198.51.100.1") }, "", false)
	check("network", func(s *caddymsa.Submission) { s.RemoteIP = netip.Addr{} }, "", false)
	check("sender_domain", func(s *caddymsa.Submission) { s.Sender.Domain = "EXAMPLE.ORG" }, "", true)
	check("sender_domain", func(s *caddymsa.Submission) { s.Sender.Domain = "example.com" }, "", false)
	check("recipient_domain", func(*caddymsa.Submission) {}, "EXAMPLE.net", true)
	check("recipient_domain", func(*caddymsa.Submission) {}, "example.com", false)
	check("server", func(s *caddymsa.Submission) { s.Identity.User, s.RemoteIP = "bob", netip.Addr{} }, "", true)
}

// A message to several domains counts once for each.
func TestRecipientDomains(t *testing.T) {
	p, _ := open(t, &RateLimit{Messages: "2", Bytes: "100", Window: conf.Duration(time.Hour), By: "recipient_domain"})
	if r := submit(p, "alice", 60, true, "a@one.example", "b@one.example", "c@two.example"); r != nil {
		t.Fatal(r)
	}
	if r := submit(p, "alice", 60, true, "a@one.example"); r == nil || r.Rule != "bytes" {
		t.Error(r)
	}
	if r := submit(p, "alice", 40, true, "a@one.example"); r != nil {
		t.Error(r)
	}
	if r := submit(p, "alice", 0, true, "a@one.example"); r == nil || r.Rule != "messages" {
		t.Error(r)
	}
	if r := submit(p, "alice", 40, true, "a@two.example"); r != nil {
		t.Error(r)
	}
}

// Domains about which the policy was not asked, since its matchers match others, have no limit.
func TestDomainsOfOthers(t *testing.T) {
	p, _ := open(t, &RateLimit{Messages: "1", Bytes: "100", Window: conf.Duration(time.Hour), By: "recipient_domain"})
	for _, matched := range []string{"a@one.example", "a@two.example"} {
		s, ctx := msatest.NewSubmission("alice", "alice@example.org"), context.Background()
		r := queue.Recipient{Address: matched}
		err := p.CheckRecipient(ctx, s, &r)
		s.Entry.Recipients = []queue.Recipient{r, {Address: "b@other.example"}}
		if err == nil {
			err = p.CheckMessage(ctx, s, msatest.NewMessage(strings.Repeat("x", 60)))
		}
		if s.End(err == nil); err != nil {
			t.Errorf("%s: %v", matched, err)
		}
	}
	if r := submit(p, "alice", 60, true, "a@one.example"); r == nil || r.Rule != messages {
		t.Error(r)
	}
}

// Sessions side by side have one limit.
func TestConcurrent(t *testing.T) {
	p, _ := open(t, &RateLimit{Messages: "100", Window: conf.Duration(time.Hour)})
	var accepted atomic.Int32
	var working sync.WaitGroup
	for i := range 64 {
		working.Go(func() {
			for j := range 20 {
				end := (i+j)%3 > 0
				if submit(p, "alice", 1, end, "bob@example.net") == nil && end {
					accepted.Add(1)
				}
			}
		})
	}
	working.Wait()
	for submit(p, "alice", 1, true, "bob@example.net") == nil {
		accepted.Add(1)
	}
	if n := accepted.Load(); n != 100 {
		t.Errorf("%d were accepted", n)
	}
}

// A reload keeps what was taken.
func TestReload(t *testing.T) {
	first, _ := open(t, &RateLimit{Messages: "1", Window: conf.Duration(time.Hour), Name: "mine"})
	if r := submit(first, "alice", 1, true, "bob@example.net"); r != nil {
		t.Fatal(r)
	}
	second, _ := open(t, &RateLimit{Messages: "2", Window: conf.Duration(time.Hour), Name: "mine"})
	_ = first.Cleanup()
	first.local = nil
	n := 0
	for submit(second, "alice", 1, true, "bob@example.net") == nil {
		n++
	}
	if n != 1 && n != 0 {
		t.Errorf("%d were left", n)
	}
}

// A bucket that was filled by another window says nothing: a day's would close an hour's for most of a day.
func TestReloadWindow(t *testing.T) {
	day, _ := open(t, &RateLimit{Messages: "2", Window: conf.Duration(24 * time.Hour), Name: t.Name()})
	for range 2 {
		if r := submit(day, "alice", 1, true, "bob@example.net"); r != nil {
			t.Fatal(r)
		}
	}
	hour, _ := open(t, &RateLimit{Messages: "2", Window: conf.Duration(time.Hour), Name: t.Name()})
	if r := submit(hour, "alice", 1, true, "bob@example.net"); r != nil {
		t.Error(r)
	}
}

// A clock that is set back closes nobody's bucket for longer than its window.
func TestClockSetBack(t *testing.T) {
	p, clock := open(t, &RateLimit{Messages: "2", Window: conf.Duration(time.Hour)})
	for range 2 {
		if r := submit(p, "alice", 1, true, "bob@example.net"); r != nil {
			t.Fatal(r)
		}
	}
	clock.Add(-int64(24 * time.Hour))
	if r := submit(p, "alice", 1, true, "bob@example.net"); r == nil || !strings.HasSuffix(r.Text, "come back in 1800 s") {
		t.Error(r)
	}
	if left := left(p, nil, "alice", "", nil); left != "messages/1h 0 of 2 back in 1h0m0s" {
		t.Error(left)
	}
	clock.Add(int64(30 * time.Minute))
	if r := submit(p, "alice", 1, true, "bob@example.net"); r != nil {
		t.Error(r)
	}
}

// A flood of keys does not take memory without end.
func TestBoundedKeys(t *testing.T) {
	tb := newTable()
	for i := range 3 * maxKeys {
		tb.take(fmt.Sprint(i), rate{limit: 60, burst: 60, window: time.Hour, longest: time.Hour}, time.Minute, noon, false)
	}
	n := 0
	for i := range tb.shards {
		n += len(tb.shards[i].full)
	}
	if n > maxKeys+shards {
		t.Errorf("%d buckets", n)
	}
}

func TestConformance(t *testing.T) {
	msatest.Policy(t, func(t testing.TB) any {
		p, _ := open(t, &RateLimit{Messages: "1000", Bytes: "1099511627776", Window: conf.Duration(time.Hour)})
		return p
	}, msatest.PolicyCase{Name: "within"})
	msatest.Policy(t, func(t testing.TB) any {
		p, _ := open(t, &RateLimit{Recipients: "1", Window: conf.Duration(time.Hour)})
		return p
	}, msatest.PolicyCase{Name: "over", Recipients: []string{"a@example.net", "b@example.net"}, Code: 450, Status: smtp.EnhancedCode{4, 7, 1}, Rule: "recipients"})
}

func TestBadConfig(t *testing.T) {
	window := conf.Duration(time.Minute)
	for _, p := range []*RateLimit{{}, {Messages: "1"}, {Messages: "-1", Window: window}, {Window: window}, {Messages: "1", Window: window, By: "moon"}, {Messages: "1", Window: window, Burst: 20000},
		{Messages: "1", Window: window, Sharing: sharing.Sharing{Redis: &sharing.Redis{}}}, {Messages: "1", Window: window, Sharing: sharing.Sharing{Redis: &sharing.Redis{Address: "x:1", OnFailure: "panic"}}}, {Messages: "1", Window: window, Sharing: sharing.Sharing{Spool: &sharing.Spool{Timeout: -1}}}} {
		if err := p.Provision(msatest.Context(t)); err == nil {
			t.Errorf("%+v: no error", p)
		}
		_ = p.Cleanup()
	}
}

func BenchmarkSubmission(b *testing.B) {
	p, _ := open(b, &RateLimit{Messages: "1099511627776", Recipients: "1099511627776", Bytes: "1125899906842624", Window: conf.Duration(time.Hour)})
	m := msatest.NewMessage("x")
	b.ReportAllocs()
	for b.Loop() {
		s := msatest.NewSubmission("alice", "")
		if err := msatest.Submit(context.Background(), p, s, []string{"bob@example.net"}, m); err != nil {
			b.Fatal(err)
		}
		s.End(true)
	}
}
