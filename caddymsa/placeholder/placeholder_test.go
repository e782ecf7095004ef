package placeholder

import (
	"github.com/caddy-msa/caddy-msa/caddymsa/names"

	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var some = Values{
	User: "alice", Sender: "Bob@Example.ORG", Recipient: `"a b"@BÜCHER.example`,
	QueueID: "Q1", RemoteIP: "192.0.2.1", Attributes: map[string]string{"org": "Acme"},
}

func env(name string) (string, error) {
	if name == "env.DIR" {
		return "/srv/{msa.user}", nil
	}
	return "", errors.New("not set")
}

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"plain":                      "plain",
		"{msa.user} {msa.queue_id}":  "alice Q1",
		"{msa.sender}":               "Bob@example.org",
		"{msa.recipient}":            "a b@xn--bcher-kva.example",
		"{msa.recipient.local}":      "a b",
		"{msa.recipient.domain}":     "xn--bcher-kva.example",
		"<{msa.remote_ip}>":          "<192.0.2.1>",
		`\{msa.user\} \\ \x`:         `{msa.user} \ \x`,
		"{env.DIR}/{msa.user}":       "/srv/{msa.user}/alice", // never twice
		"{msa.user}{msa.queue_id}-x": "aliceQ1-x",

		"{msa.identity.attributes.org}|{msa.identity.attributes.none}": "Acme|",
	} {
		tpl, err := Parse(in, env)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := tpl.Expand(some); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// Client data is data: what looks like a placeholder in a value stays as it is.
func TestExpandOnce(t *testing.T) {
	tpl, err := Parse("{msa.user}/{msa.queue_id}", env)
	if err != nil {
		t.Fatal(err)
	}
	const evil = "{env.DIR}{msa.queue_id}{file./etc/passwd}"
	if got := tpl.Expand(Values{User: evil, QueueID: "Q"}); got != evil+"/Q" {
		t.Errorf("got %q", got)
	}
}

func TestParseErrors(t *testing.T) {
	for _, in := range []string{
		"{msa.nobody}", "{msa.}", "{msa.user", "msa.user}", "{{msa.user}}", "{env.NONE}", "{}",
		"{MSA.user}", "{msa.user }",
	} {
		if _, err := Parse(in, env); err == nil {
			t.Errorf("%q: no error", in)
		}
	}
	if _, err := Parse("{env.DIR}", nil); err == nil {
		t.Error("foreign name without a resolver: no error")
	}
}

func TestPath(t *testing.T) {
	for _, c := range []struct{ in, base, want string }{
		{"/var/mail/{msa.recipient.domain}/{msa.recipient.local}", "/var/mail", "xn--bcher-kva.example/a b"},
		{"/var//mail/x/../{msa.user}/Maildir//", "/var/mail", "alice/Maildir"},
		{"./data/{msa.recipient}", "data", "a b@xn--bcher-kva.example"},
		{"/var/mail/all", "/var/mail/all", "."},
		{"/{msa.user}/.hidden", "/", "alice/.hidden"},
		{`/m\{/{msa.user}`, "/m{", "alice"},
	} {
		p, err := ParsePath(c.in, env)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		got, err := p.Expand(some)
		if err != nil || got != c.want || p.Base() != c.base {
			t.Errorf("%q: got %q below %q, %v", c.in, got, p.Base(), err)
		}
	}
}

func TestPathErrors(t *testing.T) {
	for _, in := range []string{
		"", "{msa.user}", "{msa.user}/x", "/m/u-{msa.user}", "/m/{msa.user}.d", "/m{msa.user}",
		"/m/{msa.user}{msa.queue_id}", "/m/{msa.user}/../x", "/m/{msa.user}/.", "/m\x00/{msa.user}", "/m/{msa.user}/\x00",
	} {
		if p, err := ParsePath(in, env); err == nil {
			t.Errorf("%q: no error, %+v", in, p)
		}
	}
}

var bad = []string{
	"", ".", "..", ".hidden", "a/b", "/", "../x", "a\x00b", "a\nb", "a\x7fb", "a\u0085b", "\xff",
	strings.Repeat("x", 256),
}

func TestPathElements(t *testing.T) {
	p, err := ParsePath("/m/{msa.user}", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range bad {
		if got, err := p.Expand(Values{User: v}); !errors.Is(err, ErrElement) {
			t.Errorf("%q: got %q, %v", v, got, err)
		}
	}
	for _, v := range []string{"a", "a.", "a..b", `a\b`, "{env.x}", "ü", strings.Repeat("x", 255), "a b"} {
		if got, err := p.Expand(Values{User: v}); err != nil || got != v {
			t.Errorf("%q: got %q, %v", v, got, err)
		}
	}
}

// A quoted local part is one element or none.
func TestPathQuotedLocal(t *testing.T) {
	p, _ := ParsePath("/m/{msa.recipient.domain}/{msa.recipient.local}", nil)
	for rcpt, want := range map[string]string{
		`"a@evil"@Good.example`:      "good.example/a@evil",
		`"..\/x"@good.example`:       "",
		`".."@good.example`:          "",
		`""@good.example`:            "",
		`"a\b"@good.example`:         "good.example/ab",
		"x@[IPv6:2001:DB8:0::1]":     "[IPv6:2001:db8::1]/x",
		"x@ＥＸＡＭＰＬＥ.org":              "example.org/x",
		"not an address":             "",
		"x/y@good.example":           "",
		"..@good.example":            "",
		`"a/../../b"@good.example`:   "",
		"user@xn--bcher-KVA.example": "xn--bcher-kva.example/user",
	} {
		got, err := p.Expand(Values{Recipient: rcpt})
		if got != want || (want == "") != (err != nil) {
			t.Errorf("%q: got %q, %v; want %q", rcpt, got, err, want)
		}
	}
}

func TestOf(t *testing.T) {
	e := &queue.Entry{ID: "Q", User: "u", Sender: "s@e.org", RemoteIP: "::1"}
	got := Of(e, &queue.Recipient{Address: "Postmaster", Route: "postmaster@e.org"})
	if want := (Values{User: "u", Sender: "s@e.org", Recipient: "postmaster@e.org", QueueID: "Q", RemoteIP: "::1"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// FuzzPath: whatever a client says, the path has as many elements as the
// template, stays below the base, and no two mailboxes share it.
func FuzzPath(f *testing.F) {
	for _, v := range bad {
		f.Add(v, v+"@example.org", `"`+v+`"@example.org`)
	}
	f.Add("alice", `"a b"@bücher.example`, "a@[192.0.2.1]")
	f.Add("{msa.user}", "{env.DIR}@x.org", "{file./etc/passwd}@x.org")
	p, err := ParsePath("/base/{msa.user}/{msa.recipient.domain}/{msa.recipient.local}/Maildir", env)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, user, one, two string) {
		a, errA := p.Expand(Values{User: user, Recipient: one})
		b, errB := p.Expand(Values{User: user, Recipient: two})
		for _, s := range []string{a, b} {
			if s == "" {
				continue
			}
			full := filepath.Join(p.Base(), s)
			if !filepath.IsLocal(s) || strings.Count(s, "/") != 3 || full != "/base/"+s ||
				strings.ContainsAny(s, "\x00\r\n") || !strings.HasSuffix(s, "/Maildir") {
				t.Fatalf("%q", s)
			}
		}
		if errA == nil && errB == nil && a == b && address(one, names.Folded) != address(two, names.Folded) {
			t.Fatalf("%q and %q share %q", one, two, a)
		}
	})
}

// Names fold where they become a path, and only there; case exact is for who wants it.
func TestPathFolds(t *testing.T) {
	p, err := ParsePath("/base/{msa.user}/{msa.recipient.local}/{msa.recipient}", nil)
	if err != nil {
		t.Fatal(err)
	}
	v := Values{User: "Alice@Example.org", Recipient: "BOB@Example.org"}
	if got, err := p.Expand(v); err != nil || got != "alice@example.org/bob/bob@example.org" {
		t.Errorf("%q, %v", got, err)
	}
	p.Case = names.Exact
	if got, err := p.Expand(v); err != nil || got != "Alice@Example.org/BOB/BOB@example.org" {
		t.Errorf("%q, %v", got, err)
	}
	if tpl, _ := Parse("{msa.recipient.local}", nil); tpl.Expand(v) != "BOB" {
		t.Error("a text does not keep the spelling")
	}
}
