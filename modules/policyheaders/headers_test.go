package policyheaders

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/mail"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
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
		msatest.PolicyCase{Name: "long folded", Message: "Date: x\r\nX-Case: " + strings.Repeat("y\r\n ", 1000) + "z\r\n\r\n"},
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
	if got, err := new(mime.WordDecoder).DecodeHeader(read.Header.Get("X-First")); err != nil || got != "al X-Evil: yes ice é one two" {
		t.Errorf("%q, %v", got, err)
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

// check is what is prepended to the message, or the refusal.
func check(t testing.TB, p *Headers, octets string, change ...func(*caddymsa.Submission)) (string, *caddymsa.Refusal) {
	t.Helper()
	s, m := msatest.NewSubmission("alice@example.org", "alice@example.org"), msatest.NewMessage(octets)
	for _, c := range change {
		c(s)
	}
	err := p.CheckMessage(context.Background(), s, m)
	r, ok := errors.AsType[*caddymsa.Refusal](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	return string(m.Prepended()), r
}

func wantRefusal(t testing.TB, r *caddymsa.Refusal, rule, text string) {
	t.Helper()
	if r == nil || r.Code != 554 || r.Status != (smtp.EnhancedCode{5, 6, 0}) || r.Rule != rule || r.Text != text {
		t.Errorf("%+v, want %q (%s)", r, text, rule)
	}
}

// what must be there is there, and not empty.
func TestRequire(t *testing.T) {
	p := open(t, &Headers{Require: []string{"Date", "Message-ID"}})
	if _, r := check(t, p, "date: x\r\nMESSAGE-ID :\r\n <1@x>\r\nTo: a\r\nTo: b\r\n\r\n"); r != nil {
		t.Error(r)
	}
	for octets, want := range map[string]string{
		"Date: x\r\n\r\nMessage-ID: <1@x>\r\n":                      "Message-ID header field is missing",
		"Date: x\r\nMessage-ID: \r\n \r\n\r\n":                      "Message-ID header field is empty",
		"Date: x\r\nMessage-ID: <1@x>\r\nmessage-id: <2@x>\r\n\r\n": "Message-ID header field appears 2 times",
	} {
		_, r := check(t, p, octets)
		wantRefusal(t, r, "require Message-ID", want)
	}
}

func TestRefuseBcc(t *testing.T) {
	p := open(t, &Headers{RefuseBcc: true})
	if _, r := check(t, p, "To: bob@example.net\r\nX-Bcc: x\r\n\r\nBcc: in the body\r\n"); r != nil {
		t.Error(r)
	}
	for field, name := range map[string]string{"Bcc: carol@example.net": "Bcc", "bCC:": "Bcc", "BCC : x": "Bcc", "resent-bcc: x": "Resent-Bcc", "no field\r\nBcc: x": "Bcc"} {
		_, r := check(t, p, "To: bob@example.net\r\n"+field+"\r\n\r\n")
		wantRefusal(t, r, "refuse_bcc", name+" header field would be seen by everybody: leave it out")
	}
}

// What another policy has put before the message is there.
func TestPrependedCounts(t *testing.T) {
	s, m := msatest.NewSubmission("alice", ""), msatest.NewMessage("Subject: x\r\n\r\n")
	for _, p := range []*Headers{
		{AddMissing: []string{"Date"}, Prepend: []string{"X-Gateway: one"}},
		{AddMissing: []string{"Date", "Message-ID"}, Prepend: []string{"X-Gateway: two"}},
		{Require: []string{"Date", "Message-ID"}},
	} {
		if err := open(t, p).CheckMessage(context.Background(), s, m); err != nil {
			t.Fatal(err)
		}
	}
	want := "X-Gateway: two\r\nMessage-ID: <RANDOM@msa.example.org>\r\nX-Gateway: one\r\nDate: Tue, 3 Nov 2026 09:08:07 +0100\r\n"
	if got := string(m.Prepended()); got != want {
		t.Errorf("%q", got)
	}
}

// What a client says of itself is data: it ends no field and begins none.
func TestPrependHostile(t *testing.T) {
	p := open(t, &Headers{Prepend: []string{"X-User: {msa.user}"}})
	for user, want := range map[string]string{
		"a\r\nBcc: b":              "X-User: a Bcc: b\r\n",
		"\r\n\r\nbody":             "X-User: body\r\n",
		"a\x00\x7f\tb\n":           "X-User: a b\r\n",
		" \r\n ":                   "X-User:\r\n",
		"=?utf-8?q?x?=":            "X-User: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?=\r\n",
		"Jürgen Müller":            "X-User: =?utf-8?b?SsO8cmdlbiBNw7xsbGVy?=\r\n",
		"{env.HOME}{msa.queue_id}": "X-User: {env.HOME}{msa.queue_id}\r\n",
		"\xff":                     "X-User: =?utf-8?b?77+9?=\r\n",
	} {
		if h, _ := check(t, p, "\r\n", func(s *caddymsa.Submission) { s.Entry.User = user }); h != want {
			t.Errorf("%q: %q, want %q", user, h, want)
		}
	}
	utf8 := func(s *caddymsa.Submission) { s.Entry.SMTPUTF8, s.Entry.User = true, "Jürgen\u0085\xffx" }
	if h, _ := check(t, p, "\r\n", utf8); h != "X-User: Jürgen \ufffdx\r\n" {
		t.Errorf("%q", h)
	}
}

func TestStrict(t *testing.T) {
	p := open(t, &Headers{Strict: true})
	long := strings.Repeat("x", 998-3)
	utf8 := func(s *caddymsa.Submission) { s.Entry.SMTPUTF8 = true }
	for _, octets := range []string{"", "\r\n", "A: b\r\n\tc\r\n d\r\nA: b\r\n\r\n\xff no header\r\n", "A: " + long + "\r\n " + long + "\r\n\r\n", "A:\r\n\r\n", "A-!#$%&'*+/=?^_`{|}~: x"} {
		if _, r := check(t, p, octets); r != nil {
			t.Errorf("%q: %v", octets, r)
		}
	}
	if _, r := check(t, p, "Subject: Größe\r\n\r\n", utf8); r != nil {
		t.Error(r)
	}
	for octets, want := range map[string]string{
		"A: b\r\n c\r\nno field\r\n\r\n": "Line 3 of the header is not a header field",
		" folded: first\r\n\r\n":         "Line 1 of the header is not a header field",
		":\r\n\r\n":                      "Line 1 of the header is not a header field",
		"A b: c\r\n\r\n":                 "Line 1 of the header is not a header field",
		"A : b\r\n\r\n":                  "A header field has white space before its colon",
		"A: b\r\n \t\r\n c\r\n\r\n":      "Line 2 of the header, in A, is of white space alone",
		"A: \x1b[2J\r\n\r\n":             "A header field has control characters",
		"A: x" + long + "\r\n\r\n":       "Line 1 of the header, in A, is longer than 998 octets",
		"A: b\r\nC: d\r\n x" + strings.Repeat("x", 998) + "\r\n\r\n": "Line 3 of the header, in C, is longer than 998 octets",
		"Subject: Größe\r\n\r\n":                                     "Subject header field has octets above 127, which need SMTPUTF8",
		"Gr\xf6\xdfe: x\r\n\r\n":                                     "Line 1 of the header is not a header field",
		"To: a\r\nX: y\r\nTO: b\r\n\r\n":                             "To header field appears 2 times",
	} {
		_, r := check(t, p, octets)
		wantRefusal(t, r, "strict", want)
	}
	_, r := check(t, p, "Subject: Gr\xf6\xdfe\r\n\r\n", utf8)
	wantRefusal(t, r, "strict", "Subject header field is not in UTF-8")
	_, r = check(t, p, strings.Repeat("A: b\r\n", 200_000))
	wantRefusal(t, r, "header", "Header is too long")
}

func TestBadConfig(t *testing.T) {
	for want, p := range map[string]*Headers{
		"there is nothing to do":            {},
		`"a b" is not a field name`:         {Require: []string{"a b"}},
		`"Date:" is not a field name`:       {Require: []string{"Date:"}},
		"Date is both in require and":       {AddMissing: []string{"date"}, Require: []string{"Date"}},
		"Bcc is both in require and":        {RefuseBcc: true, Require: []string{"bcc"}},
		"date is specified twice":           {AddMissing: []string{"Date", "date"}},
		`not "Subject"`:                     {AddMissing: []string{"Subject"}},
		`"no field" is not a header field`:  {Prepend: []string{"no field"}},
		`": x" is not a header field`:       {Prepend: []string{": x"}},
		"at most 60 characters":             {Prepend: []string{strings.Repeat("x", 61) + ": x"}},
		"From may not be put":               {Prepend: []string{"From: x"}},
		"to may not be put":                 {Prepend: []string{"to: x"}},
		"Content-ID may not be put":         {Prepend: []string{"Content-ID: x"}},
		"there is not one {msa.recipient}":  {Prepend: []string{"X: {msa.recipient.local}"}},
		"X: unknown placeholder {msa.helo}": {Prepend: []string{"X: {msa.helo}"}},
		"X: unknown placeholder {no.such}":  {Prepend: []string{"X: {no.such}"}},
	} {
		if err := p.Provision(caddy.Context{}); err == nil || !strings.HasPrefix(err.Error(), "headers: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	var p Headers
	err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser("headers {\nrequire Subject\nrequire To Cc\nadd_missing Date\nprepend X-A \"b c\"\nprepend X-C: d\nrefuse_bcc\nstrict\n}"))
	if got := fmt.Sprintf("%v %q %q %q %v %v", err, p.Require, p.AddMissing, p.Prepend, p.RefuseBcc, p.Strict); got != `<nil> ["Subject" "To" "Cc"] ["Date"] ["X-A: b c" "X-C: d"] true true` {
		t.Error(got)
	}
	for text, want := range map[string]string{
		"headers Date": `unexpected "Date"`, "headers {\nrequire\n}": "require takes one or more values", "headers {\nprepend \"X: y\"\n}": "prepend takes a name and a value",
		"headers {\nrefuse_bcc no\n}": "refuse_bcc takes no value", "headers {\nremove Bcc\n}": `unknown setting "remove"; known settings: require`,
	} {
		if err := new(Headers).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzUnstructured: whatever the value, it is one field, within the lengths, that reads as the value.
func FuzzUnstructured(f *testing.F) {
	f.Add("a value", false)
	f.Add("a\r\nBcc: b", true)
	f.Add(strings.Repeat("ü", 1000)+" =?", true)
	f.Add(strings.Repeat("x", 5000), false)
	f.Add(strings.Repeat("word ", 500), false)
	f.Add("=?utf-8?q?x?= \xff\x00\u0085", false)
	clean := func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}
	f.Fuzz(func(t *testing.T, value string, smtputf8 bool) {
		got := message.Unstructured("X-Gateway", value, smtputf8)
		header, err := message.ReadHeader(strings.NewReader(got + "\r\n"))
		if err != nil || len(header) != 1 || header[0].Name != "X-Gateway" {
			t.Fatalf("%q: %v", got, err)
		}
		if err := strict(header, smtputf8); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		for line := range strings.Lines(got) {
			if len(line) > message.FoldAt+2 && strings.Count(strings.TrimSpace(line), " ") > 1 {
				t.Fatalf("%q could be folded", line)
			}
		}
		text := header[0].Value()
		if decoded, err := new(mime.WordDecoder).DecodeHeader(text); err == nil && strings.HasPrefix(text, "=?") {
			text = decoded
		}
		squeeze := func(s string) string {
			return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }), " ")
		}
		if want := squeeze(strings.Map(clean, strings.ToValidUTF8(value, "\ufffd"))); squeeze(text) != want {
			t.Fatalf("%q reads as %q, want %q", got, text, want)
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
