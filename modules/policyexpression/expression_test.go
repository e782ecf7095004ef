package policyexpression

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func open(t testing.TB, p *Expression) *Expression {
	t.Helper()
	if err := p.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	p.now = func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }
	return p
}

const mixed = "From: alice@example.org\r\nSUBJECT: =?utf-8?q?caf=C3=A9?=\r\nX-Tag: a\r\nX-Tag: b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" +
	"--x\r\n\r\nHello\r\n--x\r\nContent-Type: application/xml; charset=utf-8; name=a.xml\r\nContent-Transfer-Encoding: base64\r\n\r\nPGEvPg==\r\n--x--\r\n"

// Every variable and function says what it should, at the moment when it has its answer.
func TestVariables(t *testing.T) {
	const sender, rcpt, end = caddymsa.MomentSender, caddymsa.MomentRecipient, caddymsa.MomentMessage
	for text, moment := range map[string]caddymsa.Moment{
		`user == "alice" && attributes["org"] == "example" && server == "msa.example.org"`:        0,
		`remote_ip == "192.0.2.7" && in_network(remote_ip, "192.0.2.0/24")`:                       0,
		`!in_network(remote_ip, ["10.0.0.0/8", "2001:db8::/32"])`:                                 0,
		`in_network(remote_ip, ["10.0.0.1", "192.0.2.7"])`:                                        0,
		`helo.endsWith("example.org") && tls.contains("TLS_AES_128") && mechanism == ""`:          0,
		`now.getHours("Europe/Amsterdam") == 13`:                                                  0,
		`domain(sender) == "example.org" && local(sender) == "alice"`:                             sender,
		`!smtputf8 && priority == 0`:                                                              sender,
		`recipient == "bob@example.net" || domain(recipient) == "xn--bcher-kva.example"`:          rcpt,
		`recipients.exists(r, domain(r) == "example.net") && recipients.size() == 2`:              end,
		`size > 200 && size < 500`:                                                                end,
		`message.header("subject") == "café" && message.header("None") == ""`:                     end,
		`message.headers("x-tag") == ["a", "b"]`:                                                  end,
		`parts.exists(p, p.type == "application/xml" && p.filename == "a.xml" && p.size == 4)`:    end,
		`parts[0].container && parts.map(p, p.depth) == [0, 1, 1] && parts[2].charset == "utf-8"`: end,
		`user.lowerAscii().split("l") == ["a", "ice"]`:                                            0,
		`true`: 0,
	} {
		p := open(t, &Expression{Require: text})
		if p.program.moment != moment {
			t.Errorf("%s: is answered at %d", text, p.program.moment)
		}
		s := msatest.NewSubmission("alice", "alice@example.org")
		err := msatest.Submit(context.Background(), p, s, []string{"bob@example.net", "x@bücher.example"}, msatest.NewMessage(mixed))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		// And the contrary is refused, once, at the moment it should be.
		p = open(t, &Expression{Refuse: text})
		s = msatest.NewSubmission("alice", "alice@example.org")
		refusals := 0
		for at, err := range map[caddymsa.Moment]error{
			sender: p.CheckSender(context.Background(), s),
			rcpt:   p.CheckRecipient(context.Background(), s, &queue.Recipient{Address: "bob@example.net"}),
			end: func() error {
				s.Entry.Recipients = []queue.Recipient{{Address: "bob@example.net"}, {Address: "x@bücher.example"}}
				return p.CheckMessage(context.Background(), s, msatest.NewMessage(mixed))
			}(),
		} {
			if err != nil {
				refusals++
				if at != max(moment, sender) {
					t.Errorf("%s: refused at %d", text, at)
				}
			}
		}
		if refusals != 1 {
			t.Errorf("%s: %d refusals", text, refusals)
		}
	}
}

// An error says where in the expression it is.
// Of a part that readers know by several names each counts, in refuse and in require.
func TestFileNames(t *testing.T) {
	two := "MIME-Version: 1.0\r\nContent-Type: a/b; name=%s\r\nContent-Disposition: attachment; filename=%s\r\n\r\n"
	for _, tt := range []struct {
		refuse, require string
		refused         bool
	}{
		{`parts.exists(p, p.filename.endsWith(".exe"))`, "", true},
		{`parts.exists(p, p["filename"].endsWith(".exe"))`, "", true},
		{`parts.exists(p, p.filenames.exists(n, n.endsWith(".exe")))`, "", true},
		{"", `parts.all(p, p.filename.endsWith(".txt"))`, true},
		{"", `!parts.exists(p, p.filename != "a.txt")`, true},
		{"", `parts.all(p, p.filename == "a.txt" || p.filename == "b.exe")`, false},
		{`parts.exists(p, p.filename.endsWith(".xml"))`, "", false},
	} {
		for _, octets := range []string{fmt.Sprintf(two, "a.txt", "b.exe"), fmt.Sprintf(two, "b.exe", "a.txt")} {
			p := open(t, &Expression{Refuse: tt.refuse, Require: tt.require})
			err := msatest.Submit(context.Background(), p, msatest.NewSubmission("alice", "alice@example.org"), []string{"bob@example.net"}, msatest.NewMessage(octets))
			if tt.refused != (err != nil) {
				t.Errorf("%s%s: %v", tt.refuse, tt.require, err)
			}
			m := &Matcher{Expr: tt.refuse}
			if tt.refuse == "" {
				continue
			}
			if err := m.Provision(caddy.Context{}); err != nil {
				t.Fatal(err)
			}
			s := msatest.NewSubmission("alice", "alice@example.org")
			if is, err := m.MatchMessage(context.Background(), s, nil, msatest.NewMessage(octets)); err != nil || is != tt.refused {
				t.Errorf("%s: matches: %v, %v", tt.refuse, is, err)
			}
		}
	}
	many := "MIME-Version: 1.0\r\nContent-Type: a/b"
	for i := range maxFileNames + 1 {
		many += fmt.Sprintf("; name=%d", i)
	}
	err := msatest.Submit(context.Background(), open(t, &Expression{Refuse: `parts.size() > 5`}), msatest.NewSubmission("alice", ""), []string{"bob@example.net"}, msatest.NewMessage(many+"\r\n\r\n"))
	if r, ok := errors.AsType[*caddymsa.Refusal](err); !ok || r.Code != 554 {
		t.Error(err)
	}
}

func TestPositions(t *testing.T) {
	for text, want := range map[string]string{
		"user = 1": "1:6: ", "usr == \"a\"": "1:1: undeclared reference to 'usr'", "size": "says int where it should say true or false", "size > \"x\"": "1:6: found no matching overload",
		"": "empty", "true &&": "1:8", "message": "says msa.message",
		`in_network(remote_ip, "192.0.2.0")|| in_network(remote_ip, "192.0.2/24")`: `1:60: "192.0.2/24" is neither an address nor a network`,
		`!in_network(remote_ip, ["10.0.0.0/8", "2001:db8:/32"])`:                   `1:39: "2001:db8:/32" is neither`,
		`in_network(remote_ip, ["10.0.0.0/8", 7])`:                                 `1:38: "7" is neither`,
	} {
		if _, err := compile(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// What takes too long is cut off; what fails is a failure and no refusal.
func TestFailures(t *testing.T) {
	list := `[1,2,3,4,5,6,7,8,9,10]`
	for _, text := range []string{
		list + `.all(a, ` + list + `.all(b, ` + list + `.all(c, ` + list + `.all(d, ` + list + `.all(e, ` + list + `.all(f, a+b+c+d+e+f > 0))))))`,
		`attributes["no such"] == "x"`, `in_network(remote_ip, "no" + "where")`, `in_network(remote_ip, [dyn(7)])`, `parts[7].type == "x"`,
	} {
		p := open(t, &Expression{Refuse: text})
		began := time.Now()
		err := msatest.Submit(context.Background(), p, msatest.NewSubmission("alice", "alice@example.org"), []string{"bob@example.net"}, msatest.NewMessage(mixed))
		if err == nil || errors.As(err, new(*caddymsa.Refusal)) || time.Since(began) > 60*time.Second {
			t.Errorf("%.60s: %v", text, err)
		}
	}
	broken := caddymsa.NewMessage(1, func() (io.ReadCloser, error) { return nil, errors.New("input/output error") })
	p := open(t, &Expression{Refuse: `message.header("x") == ""`})
	if err := msatest.Submit(context.Background(), p, msatest.NewSubmission("alice", ""), []string{"bob@example.net"}, broken); err == nil || errors.As(err, new(*caddymsa.Refusal)) {
		t.Error(err)
	}
}

func TestConformance(t *testing.T) {
	msatest.Policy(t, func(t testing.TB) any {
		return open(t, &Expression{Require: `size < 1000`, Name: "small", Code: 552, Status: "5.3.4"})
	},
		msatest.PolicyCase{Name: "small"},
		msatest.PolicyCase{Name: "large", Message: strings.Repeat("x: y\r\n", 200), Code: 552, Status: smtp.EnhancedCode{5, 3, 4}, Rule: "small"})
	msatest.Policy(t, func(t testing.TB) any {
		return open(t, &Expression{Refuse: `parts.exists(p, p.type.startsWith("image/"))`})
	},
		msatest.PolicyCase{Name: "text"},
		msatest.PolicyCase{Name: "image", Message: "Content-Type: image/png\r\n\r\n", Code: 550, Status: smtp.EnhancedCode{5, 7, 1}})
	msatest.Policy(t, func(t testing.TB) any { return open(t, &Expression{Refuse: `recipient.startsWith("no")`, Code: 450}) },
		msatest.PolicyCase{Name: "one", Recipients: []string{"a@example.net", "nobody@example.net"}, Code: 450, Status: smtp.EnhancedCode{4, 7, 1}})
}

// Whatever is asked costs no more than a second.
func TestWorstMessages(t *testing.T) {
	for _, text := range []string{
		`parts.exists(p, parts.exists(q, p.path != q.path && p.filename == "x" + q.filename))`,
		`message.headers("To").exists(a, message.headers("X-1").exists(b, a == b)) || message.header("Subject").matches("(a|b|.)*z")`,
		`message.header("Subject").lowerAscii().split("=").size() > 3 && message.headers("a").size() > 5`,
	} {
		msatest.TestWorstMessages(t, open(t, &Expression{Refuse: text}))
	}
}

func TestMatcher(t *testing.T) {
	m := new(Matcher)
	if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser("expression `user == \"alice\" && domain(recipient) == \"example.net\"`")); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(m)
	if err != nil || json.Unmarshal(b, m) != nil || m.Provision(caddy.Context{}) != nil || m.Moment() != caddymsa.MomentRecipient {
		t.Fatalf("%s, %v", b, err)
	}
	for to, want := range map[string]bool{"bob@example.net": true, "bob@example.org": false} {
		if got, err := m.Match(&queue.Entry{User: "alice"}, &queue.Recipient{Address: to}); got != want || err != nil {
			t.Errorf("%s: %v, %v", to, got, err)
		}
	}
	m = &Matcher{Expr: `message.header("Subject").matches("(?i)declaration")`}
	if err := m.Provision(caddy.Context{}); err != nil || m.Moment() != caddymsa.MomentMessage {
		t.Fatal(err)
	}
	s := msatest.NewSubmission("alice", "")
	if got, err := m.MatchMessage(context.Background(), s, nil, msatest.NewMessage("Subject: Declaration 7\r\n\r\n")); !got || err != nil {
		t.Error(got, err)
	}
	if _, err := m.Match(s.Entry, nil); err == nil {
		t.Error("matched without a message")
	}
}

// The expression may stand in quotes, in backticks or as it is.
func TestCaddyfile(t *testing.T) {
	for text, want := range map[string]string{
		"expression refuse `sender == \"a\"`": `sender == "a"`, `expression refuse sender == "a"`: `sender == "a"`, `expression refuse "size > 1"`: `size > 1`, "expression refuse size > 1": "size > 1",
	} {
		p := new(Expression)
		if err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil || p.Refuse != want {
			t.Errorf("%s: %q, %v", text, p.Refuse, err)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, p := range []*Expression{{}, {Refuse: "true", Require: "true"}, {Refuse: "size"}, {Refuse: "true", Code: 250}, {Refuse: "true", Code: 421}, {Refuse: "true", Status: "4.7.1"}, {Refuse: "true", Status: "no"}, {Refuse: "true", Code: 560}, {Refuse: "true", Code: 499},
		{Refuse: "true", Status: "5.7.1 or so"}, {Refuse: "true", Status: "5.-7.1"}, {Refuse: "true", Status: "5.7.1000"}, {Refuse: "true", Status: "5.7"}, {Refuse: "true", Text: "Größe"}} {
		if err := p.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{`user == "a"`, `parts.exists(p, p.type == "x")`, `[1].all(a, [2].exists(b, a < b))`, `"a".matches("(a+)+$")`, `message.headers("x")[0] == ""`, `size / 0 == 1`, `timestamp("x") < now`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := compile(text)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s := msatest.NewSubmission("alice", "alice@example.org")
		s.Entry.Recipients = []queue.Recipient{{Address: "bob@example.net"}}
		_, _ = p.ask(ctx, &vars{e: s.Entry, r: &s.Entry.Recipients[0], m: msatest.NewMessage(mixed), now: clock})
		if ctx.Err() != nil {
			t.Fatalf("%q took 5 s", text)
		}
	})
}

func BenchmarkExpression(b *testing.B) {
	for name, text := range map[string]string{
		"sender": `domain(sender) == "example.org" && in_network(remote_ip, "192.0.2.0/24")`, "header": `message.header("Subject").matches("^Declaration [0-9]+$")`, "parts": `parts.exists(p, p.type == "application/xml")`,
	} {
		p := open(b, &Expression{Refuse: text, Require: ""})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = msatest.Submit(context.Background(), p, msatest.NewSubmission("alice", "alice@example.org"), []string{"bob@example.net"}, msatest.NewMessage(mixed))
			}
		})
	}
}
