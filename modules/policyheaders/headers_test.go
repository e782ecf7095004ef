package policyheaders

import (
	"context"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

func open(t testing.TB, p *Headers) *Headers {
	t.Helper()
	if err := p.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	p.now = func() time.Time { return time.Date(2026, 11, 3, 9, 8, 7, 0, time.FixedZone("", 3600)) }
	p.id = func() string { return "RANDOM" }
	return p
}

func TestConformance(t *testing.T) {
	bad := smtp.EnhancedCode{5, 6, 0}
	msatest.Policy(t, func(t testing.TB) any {
		return open(t, &Headers{Require: []string{"Date", "X-Case"}, AddMissing: []string{"message-id"}, Prepend: []string{"X-User: {msa.user}"}, RefuseBcc: true, Strict: true})
	},
		msatest.PolicyCase{Name: "complete", Message: "Date: x\r\nX-Case: 1\r\nX-CASE: 2\r\n\r\n"},
		msatest.PolicyCase{Name: "missing", Message: "Date: x\r\n\r\nX-Case: 1\r\n", Code: 554, Status: bad, Rule: "require X-Case"},
		msatest.PolicyCase{Name: "twice", Message: "Date: x\r\nX-Case: 1\r\nDATE : y\r\n\r\n", Code: 554, Status: bad, Rule: "require Date"},
		msatest.PolicyCase{Name: "bcc", Message: "Date: x\r\nX-Case: 1\r\nbcc: secret@example.net\r\n\r\n", Code: 554, Status: bad, Rule: "refuse_bcc"},
		msatest.PolicyCase{Name: "no field", Message: "Date: x\r\nX-Case: 1\r\nhello\r\n\r\n", Code: 554, Status: bad, Rule: "strict"},
		msatest.PolicyCase{Name: "long line", Message: "Date: x\r\nX-Case: " + strings.Repeat("y", 1000) + "\r\n\r\n", Code: 554, Status: bad, Rule: "strict"},
		msatest.PolicyCase{Name: "8 bit", Message: "Date: x\r\nX-Case: \xe9\r\n\r\n", Code: 554, Status: bad, Rule: "strict"},
		msatest.PolicyCase{Name: "long folded", Message: "Date: x\r\nX-Case: " + strings.Repeat("y\r\n ", 1000) + "\r\n\r\n"},
	)
}

// What is put before a message stands in the order in which it is written, and is what an
// independent reader takes for header fields.
func TestPrepended(t *testing.T) {
	t.Setenv("GATEWAY", "one two")
	p := open(t, &Headers{AddMissing: []string{"Date", "Message-ID"}, Prepend: []string{"X-First: {msa.user} {env.GATEWAY}", "X-Second: " + strings.Repeat("word ", 40), "X-Third: {msa.sender}"}})
	s := msatest.NewSubmission("al\r\nX-Evil: yes\r\n\r\nice é", "alice@example.org")
	m := msatest.NewMessage("Subject: x\r\n\r\nbody\r\n")
	if err := p.CheckMessage(context.Background(), s, m); err != nil {
		t.Fatal(err)
	}
	all := string(m.Prepended())
	read, err := mail.ReadMessage(strings.NewReader(all + "Subject: x\r\n\r\nbody\r\n"))
	if err != nil {
		t.Fatalf("%v\n%s", err, all)
	}
	if at, err := read.Header.Date(); err != nil || !at.Equal(p.now()) || !strings.Contains(all, "Date: Tue, 3 Nov 2026 09:08:07 +0100\r\n") {
		t.Errorf("%v, %v", at, err)
	}
	if read.Header.Get("Message-Id") != "<RANDOM@msa.example.org>" || read.Header.Get("X-Evil") != "" || read.Header.Get("X-Third") != "alice@example.org" {
		t.Errorf("%s", all)
	}
	if got := read.Header.Get("X-First"); !strings.HasPrefix(got, "=?utf-8?q?al_X-Evil:_yes_ice_=C3=A9_one_two") {
		t.Errorf("%q", got)
	}
	first, second := strings.Index(all, "X-First"), strings.Index(all, "X-Second")
	if first != 0 || second < first || strings.Index(all, "Date:") < second {
		t.Errorf("order:\n%s", all)
	}
	for line := range strings.Lines(all) {
		if len(line) > 80 && !strings.HasPrefix(line, "X-First") {
			t.Errorf("long line %q", line)
		}
	}
	// What is there is not added.
	m = msatest.NewMessage("DATE: x\r\nmessage-id: y\r\n\r\n")
	if err := p.CheckMessage(context.Background(), s, m); err != nil || strings.Contains(string(m.Prepended()), "Date:") || strings.Contains(string(m.Prepended()), "Message-ID") {
		t.Errorf("%s, %v", m.Prepended(), err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, p := range []*Headers{{}, {Require: []string{"a b"}}, {AddMissing: []string{"Subject"}}, {Prepend: []string{"no field"}}, {Prepend: []string{"From: x"}}, {Prepend: []string{"X: {no.such}"}}, {Prepend: []string{": x"}}} {
		if err := p.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
}

func FuzzFold(f *testing.F) {
	f.Add("X: a b c")
	f.Add(strings.Repeat("x", 5000))
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "\r\n") {
			return
		}
		folded := fold(s)
		for line := range strings.Lines(folded) {
			if len(line) > 998+2 {
				t.Fatalf("a line of %d octets", len(line))
			}
		}
		if len(s) < longest && strings.ReplaceAll(folded, "\r\n", "") != s {
			t.Fatalf("%q became %q", s, folded)
		}
	})
}

func BenchmarkHeaders(b *testing.B) {
	p := open(b, &Headers{Require: []string{"Date", "From"}, AddMissing: []string{"Message-ID"}, Prepend: []string{"X-User: {msa.user}"}, RefuseBcc: true, Strict: true})
	raw := "From: alice@example.org\r\nDate: x\r\n" + strings.Repeat("X-Field: value\r\n", 20) + "\r\n"
	b.ReportAllocs()
	for b.Loop() {
		if err := p.CheckMessage(context.Background(), msatest.NewSubmission("alice", ""), msatest.NewMessage(raw)); err != nil {
			b.Fatal(err)
		}
	}
}
