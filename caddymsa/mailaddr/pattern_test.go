package mailaddr

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// which addresses an identity may send as.
func TestPattern(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		yes, no []string
	}{
		{"a@example.org",
			[]string{"a@example.org", "A@example.org", "A+Tag@example.org", "a@EXAMPLE.org", "a+tag@example.org", "a+@example.org", `"a"@example.org`, `"a+x y"@example.org`},
			[]string{"ab@example.org", "a@sub.example.org", "a@example.com", `"a@example.org"@evil.org`, `"a "@example.org`, "+a@example.org"}},
		{"a+x@example.org", []string{"a+x@example.org", "a+x+y@example.org"}, []string{"a@example.org", "a+y@example.org"}},
		{"@example.org", []string{"a@example.org", "b+c@Example.org"}, []string{"a@sub.example.org", "a@notexample.org", `"a@example.org"@evil.org`}},
		{"*@example.org", []string{"a@example.org"}, []string{"a@sub.example.org"}},
		{"*@*.example.org", []string{"a@dept.example.org", "a@x.dept.example.org"}, []string{"a@example.org", "a@notexample.org", "a@example.org.evil"}},
		{"@*.example.org", []string{"a@dept.example.org"}, []string{"a@example.org"}},
		{"@bücher.example", []string{"a@bücher.example", "a@xn--bcher-kva.example"}, []string{"a@bucher.example"}},
		{"@[IPv6:2001:db8::1]", []string{"a@[ipv6:2001:DB8:0::1]"}, []string{"a@[IPv6:2001:db8::2]"}},
		{`""@example.org`, []string{`""@example.org`}, []string{"+x@example.org", "a@example.org"}},
		{"*a@example.org", []string{"*a@example.org"}, []string{"xa@example.org"}},
	} {
		p, err := ParsePattern(tc.pattern)
		if err != nil {
			t.Errorf("%s: %v", tc.pattern, err)
			continue
		}
		if p.String() != tc.pattern {
			t.Errorf("%s: String() = %s", tc.pattern, p)
		}
		for i, list := range [][]string{tc.yes, tc.no} {
			for _, s := range list {
				a, err := Parse(s, true)
				if err != nil {
					t.Fatalf("%s: %v", s, err)
				}
				if p.Match(a) != (i == 0) {
					t.Errorf("%s: Match(%s) = %v", tc.pattern, s, p.Match(a))
				}
			}
		}
		if p.Match(Address{}) || p.Match(Address{Exact: "Postmaster", Local: "Postmaster"}) {
			t.Errorf("%s matches an address without a domain", tc.pattern)
		}
	}
	for _, bad := range []string{"", "a", "@", "*", "*@", "*@*", "@*.", "@*.*", "@localhost", "@*.[192.0.2.1]", "a@*.example.org", "@org", "@*org.nl", "a@@b.c", "a@b.c "} {
		if _, err := ParsePattern(bad); !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrNotQualified) {
			t.Errorf("ParsePattern(%q): %v", bad, err)
		}
	}
	if (Pattern{}).Match(Address{Exact: "@x.org", Domain: "x.org"}) {
		t.Error("the zero pattern matches")
	}
}

// Patterns as other programs, and other settings, write them are errors that say what to write here.
func TestPatternRemedies(t *testing.T) {
	t.Parallel()
	address := func(s string) error { _, err := ParsePattern(s); return err }
	domain := func(s string) error { _, err := ParseDomainPattern(s); return err }
	for _, c := range []struct {
		parse      func(string) error
		text, want string
	}{
		{address, "example.org", "; every address of it is @example.org"},
		{address, "*.example.org", "; every address of it is @*.example.org"},
		{address, "alice", "has no domain"},
		{domain, "@example.org", "; a domain is expected here, as in example.org"},
		{domain, "bob@example.org", "; a domain is expected here, as in example.org"},
		{domain, ".example.org", "; subdomains are written as in *.example.org"},
		{domain, "*example.org", "; subdomains are written as in *.example.org"},
		{domain, "two..dots", "empty label in the domain"},
		{domain, "*.", "domain is empty"},
		{domain, "a@", "bad character in the domain"},
	} {
		if err := c.parse(c.text); err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}

// case exact is for who wants it.
func TestPatternExact(t *testing.T) {
	p, err := ParsePattern("Bob@example.org")
	if err != nil {
		t.Fatal(err)
	}
	for local, want := range map[string]bool{"Bob": true, "Bob+x": true, "bob": false, "BOB": false} {
		a := Address{Exact: local + "@example.org", Local: local, Domain: "example.org"}
		if p.MatchCase(a, names.Exact) != want || !p.Match(a) {
			t.Errorf("%s: exact %t", local, !want)
		}
		set := Set{Case: names.Exact}
		if err := set.Add("Bob@example.org"); err != nil || set.Has(a) != want {
			t.Errorf("%s: in the set %t, %v", local, !want, err)
		}
	}
}

func TestDomainPattern(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		yes, no []string
	}{
		{"example.org", []string{"example.org"}, []string{"a.example.org", "", "xexample.org"}},
		{"Bücher.Example", []string{"xn--bcher-kva.example"}, nil},
		{"*.example.org", []string{"a.example.org", "b.a.example.org"}, []string{"example.org", ".example.org", "xexample.org", ""}},
		{"*.org", []string{"example.org"}, []string{"org"}},
		{"*", []string{"example.org", "localhost", "[192.0.2.1]"}, []string{""}},
		{"localhost", []string{"localhost"}, []string{"a.localhost"}},
		{"[IPv6:2001:DB8::1]", []string{"[IPv6:2001:db8::1]"}, nil},
	} {
		p, err := ParseDomainPattern(tc.pattern)
		if err != nil {
			t.Errorf("%s: %v", tc.pattern, err)
			continue
		}
		for i, list := range [][]string{tc.yes, tc.no} {
			for _, s := range list {
				if p.Match(s) != (i == 0) {
					t.Errorf("%s: Match(%q) = %v", tc.pattern, s, p.Match(s))
				}
			}
		}
	}
	for _, bad := range []string{"", "*.", "**", "a.*.b", "*org", ".", "a..b", "*.[192.0.2.1]", "a@b.c"} {
		if _, err := ParseDomainPattern(bad); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseDomainPattern(%q): %v", bad, err)
		}
	}
	if (DomainPattern{}).Match("") || (DomainPattern{}).Match("x.org") {
		t.Error("the zero pattern matches")
	}
}
