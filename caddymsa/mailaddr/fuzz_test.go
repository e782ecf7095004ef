package mailaddr

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

var fuzzSeeds = []string{
	"", "a@x.org", `"a b"@x.org`, `"a\"\\"@x.org`, "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "postmaster", "a@localhost",
	"ü@bücher.example", "a@xn--bcher-kva.example", "a@b\u3002c.org", "@a:b@c", "a..b@x.org", "a@x_y.org", "\xff@x.org",
	"<a@x.org> SIZE=1", "<>", "<Postmaster> RET=HDRS", "  <a@x.org>", `<"> "@x.org>`, "<a@x.org", "<@a:b@c>",
	"a@faß.de", "a@\u200d.org", "a@xn--.org", "a@١.org", "a@x.１",
}

// checkAddress holds what is true of every address that was parsed.
func checkAddress(t *testing.T, a Address, utf8 bool) {
	t.Helper()
	if !utf8 && a.NeedsUTF8() {
		t.Fatalf("%+v: not ASCII", a)
	}
	if strings.ContainsAny(a.Exact, "\r\n\x00") || len(a.Exact) > maxMailbox {
		t.Fatalf("%+v: bad octets or too long", a)
	}
	if a.Domain == "" {
		if !a.IsNull() && !a.IsPostmaster() {
			t.Fatalf("%+v: no domain", a)
		}
		return
	}
	if !strings.HasSuffix(a.Exact, "@"+a.Domain) {
		t.Fatalf("%+v: domain is not at the end", a)
	}
	again, err := Parse(a.Exact, utf8)
	if err != nil || again != a || again.Key() != a.Key() {
		t.Fatalf("%+v: reparsed as %+v, %v", a, again, err)
	}
	ascii := a.ASCIIDomain()
	if !isASCII(ascii) || !a.IsPostmaster() && a.KeyCase(names.Exact) != a.Local+"@"+ascii {
		t.Fatalf("%+v: ASCII domain %q, key %q", a, ascii, a.Key())
	}
	// The canonical domain is canonical, and names the same mailbox.
	twice, err := ASCIIDomain(ascii)
	if err != nil || twice != ascii {
		t.Fatalf("%q becomes %q, %v", ascii, twice, err)
	}
	canonical := strings.TrimSuffix(a.Exact, a.Domain) + ascii
	if len(canonical) <= maxMailbox {
		if b, err := Parse(canonical, utf8); err != nil || !Equal(a, b) {
			t.Fatalf("%q, canonically %q: %+v, %v", a.Exact, canonical, b, err)
		}
	}
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrNotQualified) {
		t.Fatalf("error of no kind: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, utf8 bool) {
		a, err := Parse(s, utf8)
		if err != nil {
			checkError(t, err)
			return
		}
		if a.Exact != s || a.Domain == "" {
			t.Fatalf("%q became %+v", s, a)
		}
		checkAddress(t, a, utf8)
		if b, rest, err := ParsePath("<"+s+"> X=1", utf8); err != nil || b != a || rest != " X=1" {
			t.Fatalf("%q in brackets became %+v, %q, %v", s, b, rest, err)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s, true)
		f.Add("<"+s+">", false)
	}
	f.Fuzz(func(t *testing.T, s string, utf8 bool) {
		a, rest, err := ParsePath(s, utf8)
		if err != nil {
			checkError(t, err)
			return
		}
		if got := "<" + a.Exact + ">" + rest; got != strings.TrimLeft(s, " ") {
			t.Fatalf("%q came back as %q", s, got)
		}
		checkAddress(t, a, utf8)
	})
}

func FuzzPattern(f *testing.F) {
	for _, s := range append(fuzzSeeds, "@x.org", "*@x.org", "@*.x.org", "*@*.x.org", "*.x.org", "*") {
		f.Add(s, "a@b.x.org")
	}
	f.Fuzz(func(t *testing.T, s, addr string) {
		p, err := ParsePattern(s)
		if err != nil {
			checkError(t, err)
		} else if exact, err := Parse(s, true); err == nil && !strings.HasPrefix(s, "*@") && !p.Match(exact) {
			t.Fatalf("%q does not match itself", s)
		}
		if a, err := Parse(addr, true); err == nil && p.Match(a) && p == (Pattern{}) {
			t.Fatalf("the zero pattern matches %q", addr)
		}
		d, err := ParseDomainPattern(s)
		if err != nil {
			checkError(t, err)
		} else if ascii, err := ASCIIDomain(s); err == nil && s[0] != '*' && !d.Match(ascii) {
			t.Fatalf("%q does not match itself", s)
		}
	})
}
