package policysender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func submission(t *testing.T, user, sender string, addresses ...string) *caddymsa.Submission {
	t.Helper()
	s := &caddymsa.Submission{Entry: &queue.Entry{Sender: sender}, Identity: caddymsa.Identity{User: user}}
	if sender != "" {
		a, err := mailaddr.Parse(sender, true)
		if err != nil {
			t.Fatal(err)
		}
		s.Sender = a
	}
	for _, text := range addresses {
		p, err := mailaddr.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		s.Identity.Addresses = append(s.Identity.Addresses, p)
	}
	return s
}

func content(raw string) *caddymsa.Message {
	return caddymsa.NewMessage(int64(len(raw)), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(raw)), nil })
}

func refused(err error) bool {
	r, ok := errors.AsType[*caddymsa.Refusal](err)
	return ok && r.Code == 550 && r.Status == smtp.EnhancedCode{5, 7, 1} && r.Rule != ""
}

// Names fold by default; the policy or the backend can tell them apart.
func TestCase(t *testing.T) {
	for _, tt := range []struct {
		policy, backend names.Case
		sender          string
		ok              bool
	}{
		{"", "", "Lower@d.example", true}, {"", "", "SHARED@d.example", true}, {names.Exact, "", "Lower@d.example", false}, {names.Exact, "", "lower@D.example", true},
		{names.Exact, "", "SHARED@d.example", false}, {"", names.Exact, "Lower@d.example", false}, {"", names.Exact, "lower@d.example", true},
	} {
		p := &SenderIdentity{Case: tt.policy, Addresses: []string{"shared@d.example"}}
		if err := p.Provision(caddy.Context{Context: t.Context()}); err != nil {
			t.Fatal(err)
		}
		s := submission(t, "lower@d.example", tt.sender)
		s.Identity.Case = tt.backend
		if err := p.CheckSender(t.Context(), s); tt.ok != (err == nil) {
			t.Errorf("%+v: %v", tt, err)
		}
		m := content("From: " + tt.sender + "\r\n\r\n")
		if err := p.CheckMessage(t.Context(), submission(t, "lower@d.example", ""), m); tt.backend == "" && tt.ok != (err == nil) {
			t.Errorf("%+v: From: %v", tt, err)
		}
	}
	for text, ok := range map[string]bool{"case exact": true, "case fold": true, "case upper": false, "case": false} {
		err := new(SenderIdentity).UnmarshalCaddyfile(caddyfile.NewTestDispenser("sender_identity {\n" + text + "\n}"))
		if ok != (err == nil) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

//
func TestSender(t *testing.T) {
	p := &SenderIdentity{log: zap.NewNop()}
	for _, tt := range []struct {
		user, sender string
		addresses    []string
		ok           bool
	}{
		{"alice@example.org", "alice@example.org", nil, true},
		{"alice@example.org", "alice+tag@EXAMPLE.ORG", nil, true},
		{"alice@example.org", "Alice@example.org", nil, true}, // names fold
		{"alice@example.org", "bob@example.org", nil, false},
		{"alice", "bob@example.org", []string{"@example.org"}, true},
		{"alice", "bob@sub.example.org", []string{"@example.org"}, false},
		{"alice", "bob@sub.example.org", []string{"*@*.example.org"}, true},
		{"alice", "bob@xn--bcher-kva.example", []string{"*@bücher.example"}, true},
		{"alice", "alice@example.org", nil, false},
		{"alice@example.org", "", nil, true},
	} {
		s := submission(t, tt.user, tt.sender, tt.addresses...)
		err := p.CheckSender(context.Background(), s)
		if tt.ok != (err == nil) || !tt.ok && !refused(err) {
			t.Errorf("%s as %s with %q: %v", tt.user, tt.sender, tt.addresses, err)
		}
		if want := tt.ok && tt.sender != ""; s.Entry.ReturnPath != want {
			t.Errorf("%s as %s: bounces may go there: %v, want %v", tt.user, tt.sender, s.Entry.ReturnPath, want)
		}
	}
}

//
func TestFrom(t *testing.T) {
	p := &SenderIdentity{log: zap.NewNop()}
	for _, tt := range []struct {
		header string
		ok     bool
	}{
		{"From: alice@example.org\r\n", true},
		{"from : \"A, lice\" <alice@example.org>\r\n", true},
		{"From: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?= <alice@example.org>\r\n", true},
		{"From: Alice\r\n <alice@example.org>\r\n", true},
		{"From: alice@example.org, bob@example.net\r\n", false},
		{"From: alice@example.org\r\nFrom: bob@example.net\r\n", false},
		{"no field\r\nFrom: bob@example.net\r\n", false},
		{"From: staff: alice@example.org, bob@example.net;\r\n", false},
		{"From: staff: alice@example.org;\r\n", true},
		{"From: nonsense\r\n", false},
		{"FROM:\r\n\tbob@example.net\r\n", false},
		{"Subject: From: bob@example.net\r\n", true},
		{"Subject: no From\r\n\r\nFrom: bob@example.net\r\n", true},
		{"From: " + strings.Repeat("x", 64<<10) + "\r\n", false},
		{"From: Bücher <alice@example.org>\r\n", true},
		{"From: <alice@EXAMPLE.ORG> (a comment, with bob@example.net)\r\n", true},
		{"From: \"alice\"@example.org\r\n", true},
		{"From: staff:;\r\n", false},
		{"From:\r\n", false},
		{"From: <@example.net:alice@example.org>\r\n", true}, // RFC 5322 section 4.4
		{"From: <@example.org:bob@example.net>\r\n", false},
		{"From: alice@example.org, \"alice@example.org\" <bob@example.net>\r\n", false},
		{"From: alice+one@example.org, alice+two@example.org\r\nSender: alice@example.org\r\n", true},
		{"From: alice@example.org\r\nSender: bob@example.net\r\n", false},
		{"From: alice@example.org\r\nSender: alice@example.org\r\nSENDER : bob@example.net\r\n", false},
		{"From: alice@example.org\r\nSender:\r\n", true}, // forms of programs have it, and it names nobody
		{"From: alice@example.org\r\nSender: \r\n \r\nSender:\r\n", true},
		{"From: alice@example.org\r\nSender:\r\nSender: bob@example.net\r\n", false},
		{"From: alice@example.org\r\nSender: staff:;\r\n", false},
		{"Sender: bob@example.net\r\n", false},
		{"From: alice@example.org\r\nFrom: alice@example.org\r\n", true},
		{"To: nobody in particular\r\n", true},
		{strings.Repeat("X: y\r\n", message.MaxHeader/6+1), false},
		{"X: " + strings.Repeat("x", 9000) + "\r\nFrom: bob@example.net\r\n", false},
	} {
		err := p.CheckMessage(context.Background(), submission(t, "alice@example.org", ""), content(tt.header+"\r\nbody\r\n"))
		if tt.ok != (err == nil) || !tt.ok && !refused(err) {
			t.Errorf("%.60q: %v", tt.header, err)
		}
	}
}

// The reply says what cannot be understood.
func TestFromNotUnderstood(t *testing.T) {
	p := &SenderIdentity{log: zap.NewNop()}
	for from, want := range map[string]string{
		"bob@example.net <alice@example.org>":                  "From header field cannot be understood: the name before the address has an @ outside of quotes",
		"Doe, Alice <alice@example.org>":                       `From header field cannot be understood: "Doe" is not an address; a name with a comma or a semicolon needs quotes`,
		"\"\x81\\\" <bob@example.net>, \" <alice@example.org>": "From header field cannot be understood: with a name that is not in UTF-8 readers may differ in whose address it is",
		"Alice (work <alice@example.org>":                      "From header field cannot be understood: a comment is not closed",
	} {
		err := p.CheckMessage(context.Background(), submission(t, "alice@example.org", ""), content("From: "+from+"\r\n\r\nbody\r\n"))
		if r, ok := errors.AsType[*caddymsa.Refusal](err); !ok || r.Text != want {
			t.Errorf("%s: %v", from, err)
		}
	}
	for _, from := range []string{"Alice <alice@example.org (work)>", "alice @example.org", "alice@example.org <alice@example.org>", "M\xfcller <alice@example.org>", "\x95\\ <alice@example.org>", "Foo [Bar] <alice@example.org>"} {
		if err := p.CheckMessage(context.Background(), submission(t, "alice@example.org", ""), content("From: "+from+"\r\n\r\nbody\r\n")); err != nil {
			t.Errorf("%s: %v", from, err)
		}
	}
}

func TestOff(t *testing.T) {
	p := &SenderIdentity{Off: true, log: zap.NewNop()}
	s := submission(t, "alice", "bob@example.net")
	if err := p.CheckSender(context.Background(), s); err != nil || s.Entry.ReturnPath {
		t.Error(err, s.Entry.ReturnPath)
	}
}

// SMTPUTF8 and internationalised domains: one mailbox whichever way its domain is spelled.
func TestInternational(t *testing.T) {
	p := &SenderIdentity{log: zap.NewNop()}
	for _, tt := range []struct {
		from string
		ok   bool
	}{
		{"jürgen@bücher.example", true},
		{"Jürgen <jürgen@xn--bcher-kva.example>", true},
		{"jürgen@BÜCHER.example", true},
		{"jurgen@bücher.example", false},
		{"jürgen@bucher.example", false},
	} {
		s := submission(t, "j", "", "jürgen@bücher.example")
		if err := p.CheckMessage(context.Background(), s, content("From: "+tt.from+"\r\n\r\n")); tt.ok != (err == nil) {
			t.Errorf("%s: %v", tt.from, err)
		}
	}
}

func TestRequireFrom(t *testing.T) {
	p := &SenderIdentity{RequireFrom: true, log: zap.NewNop()}
	for raw, ok := range map[string]bool{
		"From: alice@example.org\r\n\r\n": true, "Subject: x\r\n\r\n": false,
		"From: alice@example.org\r\nfrom: alice@example.org\r\n\r\n": false,
	} {
		err := p.CheckMessage(context.Background(), submission(t, "alice@example.org", ""), content(raw))
		r, refused := errors.AsType[*caddymsa.Refusal](err)
		if ok != (err == nil) || !ok && (!refused || r.Code != 554 || r.Status != smtp.EnhancedCode{5, 6, 0}) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestSharedAddresses(t *testing.T) {
	p := &SenderIdentity{Addresses: []string{"scan@example.org", "*@*.example.net"}}
	if err := p.Provision(caddy.Context{Context: context.Background()}); err != nil {
		t.Fatal(err)
	}
	for from, ok := range map[string]bool{"scan@example.org": true, "x@a.example.net": true, "x@example.net": false, "bob@example.org": false} {
		if err := p.CheckSender(context.Background(), submission(t, "alice", from)); ok != (err == nil) {
			t.Errorf("%s: %v", from, err)
		}
	}
	for _, p := range []*SenderIdentity{{Addresses: []string{"@"}}, {Off: true, RequireFrom: true}} {
		if err := p.Provision(caddy.Context{Context: context.Background()}); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
}

// Of several the first that is asked decides.
func TestFirstDecides(t *testing.T) {
	off, strict := &SenderIdentity{Off: true, log: zap.NewNop()}, &SenderIdentity{log: zap.NewNop()}
	for _, tt := range []struct {
		policies []*SenderIdentity
		ok       bool
	}{{[]*SenderIdentity{off, strict}, true}, {[]*SenderIdentity{strict, off}, false}} {
		s, m := submission(t, "alice@example.org", "bob@example.net"), content("From: bob@example.net\r\n\r\n")
		var errs []error
		for _, p := range tt.policies {
			errs = append(errs, p.CheckSender(context.Background(), s), p.CheckMessage(context.Background(), s, m))
		}
		if err := errors.Join(errs...); tt.ok != (err == nil) || !tt.ok && len(err.(interface{ Unwrap() []error }).Unwrap()) != 2 {
			t.Errorf("%v", err)
		}
	}
}

// A user who may send as nobody is told of in the log, with what to add.
func TestNobody(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	p := &SenderIdentity{log: zap.New(core)}
	if err := p.CheckSender(context.Background(), submission(t, "alice", "alice@example.org")); !refused(err) {
		t.Error(err)
	}
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, "addresses=") {
		t.Error(logs.All())
	}
}

func FuzzFrom(f *testing.F) {
	f.Add("From: alice@example.org\r\n\r\nbody")
	f.Add("Subject: x\r\n y\r\nfrom:\r\n <b@c>\r\n")
	p := &SenderIdentity{log: zap.NewNop()}
	f.Fuzz(func(t *testing.T, message string) {
		_ = p.CheckMessage(context.Background(), &caddymsa.Submission{Entry: &queue.Entry{}}, content(message))
	})
}

// It is told once, of the first of them: whoever is refused tries again.
func TestToldOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	p := &SenderIdentity{log: zap.New(core)}
	for i := range 2 * maxTold {
		for range 3 {
			if err := p.CheckSender(context.Background(), submission(t, fmt.Sprint("user", i), "alice@example.org")); !refused(err) {
				t.Fatal(err)
			}
		}
	}
	if n := logs.Len(); n != maxTold {
		t.Errorf("%d lines", n)
	}
}
