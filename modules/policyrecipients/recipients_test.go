package policyrecipients

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func open(t testing.TB, p *Recipients) *Recipients {
	t.Helper()
	if err := p.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	p.now = func() time.Time { return began }
	t.Cleanup(func() { _ = p.Cleanup() })
	return p
}

// began is when it is, until a test says otherwise: no day begins in the middle of one.
var began = time.Now()

func TestConformance(t *testing.T) {
	refused := smtp.EnhancedCode{5, 7, 1}
	msatest.Policy(t, func(t testing.TB) any {
		return open(t, &Recipients{Allow: []string{"example.net", "*.example.com", "boss@example.org"}, Deny: []string{"secret@example.net", "@no.example.com"}, MaxPerMessage: "2"})
	},
		msatest.PolicyCase{Name: "domain"},
		msatest.PolicyCase{Name: "subdomain", Recipients: []string{"x@a.example.com", "boss+tag@EXAMPLE.org"}},
		msatest.PolicyCase{Name: "not allowed", Recipients: []string{"x@example.com"}, Code: 550, Status: refused, Rule: "allow"},
		msatest.PolicyCase{Name: "denied", Recipients: []string{"secret@example.net"}, Code: 550, Status: refused, Rule: "deny"},
		msatest.PolicyCase{Name: "denied domain", Recipients: []string{"x@no.example.com"}, Code: 550, Status: refused, Rule: "deny"},
		msatest.PolicyCase{Name: "too many", Recipients: []string{"a@example.net", "b@example.net", "c@example.net"}, Code: 452, Status: smtp.EnhancedCode{4, 5, 3}, Rule: "max_per_message"},
	)
}

// <Postmaster> alone is what it stands for.
func TestPostmaster(t *testing.T) {
	p := open(t, &Recipients{Deny: []string{"postmaster@msa.example.org"}})
	r := &queue.Recipient{Address: "Postmaster", Route: "postmaster@msa.example.org"}
	if err := p.CheckRecipient(context.Background(), msatest.NewSubmission("alice", ""), r); err == nil {
		t.Error("taken")
	}
}

// A day's count is of accepted messages, holds for all sessions together and ends at midnight.
func TestPerDay(t *testing.T) {
	p := open(t, &Recipients{MaxPerDay: "50", Timezone: "Europe/Amsterdam", Name: t.Name()})
	now := time.Date(2026, 11, 23, 22, 30, 0, 0, time.UTC) // 23:30 there
	p.now = func() time.Time { return now }
	submit := func(user string, n int, accepted bool) (taken int, err error) {
		s := msatest.NewSubmission(user, "")
		for range n {
			r := queue.Recipient{Address: "bob@example.net"}
			if err = p.CheckRecipient(context.Background(), s, &r); err != nil {
				break
			}
			s.Entry.Recipients = append(s.Entry.Recipients, r)
			taken++
		}
		s.End(accepted)
		return taken, err
	}
	if n, _ := submit("alice", 40, false); n != 40 {
		t.Fatal(n)
	}
	var total atomic.Int32
	var working sync.WaitGroup
	for range 16 {
		working.Go(func() {
			n, _ := submit("alice", 10, true)
			total.Add(int32(n))
		})
	}
	working.Wait()
	if total.Load() != 50 {
		t.Errorf("%d were taken", total.Load())
	}
	_, err := submit("alice", 1, true)
	r, ok := errors.AsType[*caddymsa.Refusal](err)
	if !ok || r.Code != 450 || r.Rule != "max_per_day" || !strings.HasSuffix(r.Text, "come back Tue 24 Nov 00:00 CET") {
		t.Errorf("%v", err)
	}
	if n, _ := submit("bob", 50, true); n != 50 {
		t.Errorf("another user has %d left", n)
	}
	// Another configuration with the same limit goes on counting.
	next := open(t, &Recipients{MaxPerDay: "60", Timezone: "Europe/Amsterdam", Name: t.Name()})
	next.now = p.now
	p, before := next, p
	_ = before.Cleanup()
	if n, _ := submit("alice", 60, true); n != 10 {
		t.Errorf("after the reload there were %d left", n)
	}
	now = now.Add(time.Hour)
	if n, _ := submit("alice", 60, true); n != 60 {
		t.Errorf("the next day began with %d", n)
	}
	before.days = nil // was given up above
}

// A day is counted by the user, whose name compares as case says.
func TestPerDayCase(t *testing.T) {
	for _, tt := range []struct {
		c    names.Case
		code int
	}{{names.Folded, 450}, {names.Exact, 0}} {
		p := open(t, &Recipients{MaxPerDay: "1", Case: tt.c, Name: t.Name()})
		for _, user := range []string{"bob", "Bob"} {
			s := msatest.NewSubmission(user, "")
			r := queue.Recipient{Address: "carol@example.net"}
			err := p.CheckRecipient(context.Background(), s, &r)
			s.Entry.Recipients = append(s.Entry.Recipients, r)
			s.End(err == nil)
			code := 0
			if refusal, ok := errors.AsType[*caddymsa.Refusal](err); ok {
				code = refusal.Code
			}
			if user == "Bob" && code != tt.code {
				t.Errorf("case %q: %v", tt.c, err)
			}
		}
	}
}

// Files are read again when they change; one that cannot be read changes nothing.
func TestFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "allowed")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# partners\nexample.net # a domain\n\nbob@example.org\n")
	p := open(t, &Recipients{AllowFiles: []string{file}})
	taken := func(to string) bool {
		return p.CheckRecipient(context.Background(), msatest.NewSubmission("alice", ""), &queue.Recipient{Address: to}) == nil
	}
	if !taken("x@example.net") || !taken("bob@example.org") || taken("carol@example.org") {
		t.Error("the file was not read as it stands")
	}
	write("example.net\nthis is nothing\n")
	if err := p.allow.files[0].Reload(); err == nil {
		t.Error("no error")
	}
	if !taken("bob@example.org") {
		t.Error("a broken file was taken")
	}
	write("carol@example.org\n")
	if err := p.allow.files[0].Reload(); err != nil {
		t.Error(err)
	}
	if taken("bob@example.org") || !taken("carol@example.org") {
		t.Error("the file was not read again")
	}
	write("\ufeffcarol@example.org,\r\n\u00a0dave@example.org\u00a0\r\n")
	if err := p.allow.files[0].Reload(); err != nil {
		t.Error(err)
	}
	if !taken("carol@example.org") || !taken("dave@example.org") {
		t.Error("what editors leave was not read as it is meant")
	}
	write("example.net\n@\n")
	if err := bad(t, &Recipients{DenyFiles: []string{file}}); !strings.Contains(err, file+":2: ") {
		t.Error(err)
	}
}

// The path of a list may have placeholders, as other files' have.
func TestFilePlaceholder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RECIPIENTS_DIR", dir)
	if err := os.WriteFile(filepath.Join(dir, "denied"), []byte("example.net\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := open(t, &Recipients{DenyFiles: []string{"{env.RECIPIENTS_DIR}/denied"}})
	if err := p.CheckRecipient(context.Background(), msatest.NewSubmission("alice", ""), &queue.Recipient{Address: "bob@example.net"}); err == nil {
		t.Error("taken")
	}
	if err := bad(t, &Recipients{DenyFiles: []string{"{env.RECIPIENTS_NOWHERE}/denied"}}); !strings.Contains(err, "deny: {env.RECIPIENTS_NOWHERE}") {
		t.Error(err)
	}
}

func bad(t testing.TB, p *Recipients) string {
	t.Helper()
	err := p.Provision(msatest.Context(t))
	_ = p.Cleanup()
	if err == nil {
		t.Fatalf("%+v: no error", p)
	}
	return err.Error()
}

func TestBadConfig(t *testing.T) {
	for _, p := range []*Recipients{{}, {Allow: []string{"a@b@c"}}, {MaxPerDay: "-1", Deny: []string{"x"}}, {MaxPerDay: "1", Timezone: "Mars"}, {AllowFiles: []string{"/nonexistent/list"}}} {
		bad(t, p)
	}
}

// A policy whose matcher waits for the message is asked for each recipient at its end, when all are there: as many as are allowed pass,
// and no later attempt of the same message can be better.
func TestPerMessageAtItsEnd(t *testing.T) {
	p := open(t, &Recipients{MaxPerMessage: "2"})
	s := msatest.NewSubmission("alice", "")
	s.Entry.Recipients = []queue.Recipient{{Address: "a@example.net"}, {Address: "b@example.net"}, {Address: "c@example.net"}}
	for i := range s.Entry.Recipients {
		err := p.CheckRecipient(context.Background(), s, &s.Entry.Recipients[i])
		if i < 2 && err != nil {
			t.Errorf("recipient %d: %v", i+1, err)
		}
		if r, ok := errors.AsType[*caddymsa.Refusal](err); i == 2 && (!ok || r.Code != 550 || r.Status != smtp.EnhancedCode{5, 5, 3}) {
			t.Errorf("recipient %d: %v", i+1, err)
		}
	}
}

// Where the policy is for some recipients, others that it did not count do not stand for those of them that were refused in the end.
func TestPerDayOfSome(t *testing.T) {
	p := open(t, &Recipients{MaxPerDay: "3", Name: t.Name()})
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	p.now = func() time.Time { return noon }
	for round := range 3 { // of which one recipient counts each
		s := msatest.NewSubmission("alice", "")
		for _, to := range []string{"partner@example.net", "refused.later@example.net"} {
			if err := p.CheckRecipient(context.Background(), s, &queue.Recipient{Address: to}); err != nil && round < 2 {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		s.Entry.Recipients = []queue.Recipient{{Address: "colleague@example.org"}, {Address: "partner@example.net"}, {Address: "boss@example.org"}}
		s.End(true)
	}
	if n := p.days.count(noon.Format(time.DateOnly), "alice"); n != 3 {
		t.Errorf("%d were counted", n)
	}
}
