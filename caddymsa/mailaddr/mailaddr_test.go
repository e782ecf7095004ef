package mailaddr

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// strict mailbox grammar, exact spelling kept.
func TestParse(t *testing.T) {
	l63, l64 := strings.Repeat("a", 63), strings.Repeat("a", 64)
	d190 := strings.Repeat(l63+".", 2) + strings.Repeat("b", 61) + ".e" // 191 octets
	for _, tc := range []struct {
		in            string
		utf8          bool
		local, domain string
		err           error
	}{
		{in: "ik@mijnbedrijf.nl", local: "ik", domain: "mijnbedrijf.nl"},
		{in: "A.b+c@Example.ORG", local: "A.b+c", domain: "Example.ORG"},
		{in: "!#$%&'*+-/=?^_`{|}~@x.org", local: "!#$%&'*+-/=?^_`{|}~", domain: "x.org"},
		{in: `"a b"@x.org`, local: "a b", domain: "x.org"},
		{in: `"a@evil"@good.org`, local: "a@evil", domain: "good.org"},
		{in: `"a>b"@x.org`, local: "a>b", domain: "x.org"},
		{in: `"a\"\\\ b"@x.org`, local: `a"\ b`, domain: "x.org"},
		{in: `""@x.org`, local: "", domain: "x.org"},
		{in: "a@[192.0.2.1]", local: "a", domain: "[192.0.2.1]"},
		{in: "a@[ipV6:2001:DB8::1]", local: "a", domain: "[ipV6:2001:DB8::1]"},
		{in: "a@[IPv6:::ffff:192.0.2.1]", local: "a", domain: "[IPv6:::ffff:192.0.2.1]"},
		{in: "a@1.x-y.2a", local: "a", domain: "1.x-y.2a"},
		{in: "a@xn--bcher-kva.example", local: "a", domain: "xn--bcher-kva.example"},
		{in: "ü.é@bücher.example", utf8: true, local: "ü.é", domain: "bücher.example"},
		{in: `"ü é"@x.org`, utf8: true, local: "ü é", domain: "x.org"},
		{in: l64 + "@x.org", local: l64, domain: "x.org"},
		{in: "a@" + l63 + ".org", local: "a", domain: l63 + ".org"},
		{in: l63[:62] + "@" + d190, local: l63[:62], domain: d190}, // 254

		{in: "", err: ErrSyntax},
		{in: "@x.org", err: ErrSyntax},
		{in: "alice", err: ErrNotQualified},
		{in: "postmaster", err: ErrNotQualified},
		{in: "alice@localhost", err: ErrNotQualified},
		{in: "ü@bücher", utf8: true, err: ErrNotQualified},
		{in: "alice@", err: ErrSyntax},
		{in: ".a@x.org", err: ErrSyntax},
		{in: "a.@x.org", err: ErrSyntax},
		{in: "a..b@x.org", err: ErrSyntax},
		{in: "a b@x.org", err: ErrSyntax},
		{in: "a@b@x.org", err: ErrSyntax},
		{in: "a@x.org ", err: ErrSyntax},
		{in: "a@x.org>", err: ErrSyntax},
		{in: " a@x.org", err: ErrSyntax},
		{in: "<a@x.org>", err: ErrSyntax},
		{in: "a@x_y.org", err: ErrSyntax},
		{in: "a@-x.org", err: ErrSyntax},
		{in: "a@x-.org", err: ErrSyntax},
		{in: "a@x.org-", err: ErrSyntax},
		{in: "a@.x.org", err: ErrSyntax},
		{in: "a@x..org", err: ErrSyntax},
		{in: "a@x.org.", err: ErrSyntax},
		{in: "a@192.0.2.1", err: ErrSyntax},
		{in: "a@[192.0.2.1", err: ErrSyntax},
		{in: "a@[192.0.2.256]", err: ErrSyntax},
		{in: "a@[192.0.2.01]", err: ErrSyntax},
		{in: "a@[192.0.2]", err: ErrSyntax},
		{in: "a@[]", err: ErrSyntax},
		{in: "a@[2001:db8::1]", err: ErrSyntax},
		{in: "a@[IPv6:192.0.2.1]", err: ErrSyntax},
		{in: "a@[IPv6:fe80::1%eth0]", err: ErrSyntax},
		{in: "a@[x400:abc]", err: ErrSyntax},
		{in: "a@[192.0.2.1].org", err: ErrSyntax},
		{in: l64 + "a@x.org", err: ErrSyntax},
		{in: "a@" + l64 + ".org", err: ErrSyntax},
		{in: l63 + "@" + d190, err: ErrSyntax}, // 255
		{in: `"a"b@x.org`, err: ErrSyntax},
		{in: `"a@x.org`, err: ErrSyntax},
		{in: `"a\`, err: ErrSyntax},
		{in: "\"a\x00\"@x.org", err: ErrSyntax},
		{in: "\"a\\\x00\"@x.org", err: ErrSyntax},
		{in: "a\x00@x.org", err: ErrSyntax},
		{in: "a@x\x7f.org", err: ErrSyntax},
		{in: "a\r\n@x.org", err: ErrSyntax},
		{in: "ü@x.org", err: ErrNeedsUTF8},
		{in: "ü@x.org", err: ErrSyntax},
		{in: "a@bücher.example", err: ErrNeedsUTF8},
		{in: "\xff@x.org", utf8: true, err: ErrSyntax},
		{in: "a\u0085@x.org", utf8: true, err: ErrSyntax},
		{in: "a\u2028@x.org", utf8: true, err: ErrSyntax},
		{in: "\"\\ü\"@x.org", utf8: true, err: ErrSyntax},
		{in: "a@b\u3002example.org", utf8: true, err: ErrSyntax},
		{in: "a@\u2025.example.org", utf8: true, err: ErrSyntax},
		{in: "a@" + strings.Repeat("ü", 63) + ".org", utf8: true, err: ErrSyntax},
	} {
		a, err := Parse(tc.in, tc.utf8)
		if !errors.Is(err, tc.err) {
			t.Errorf("Parse(%q): error %v, want %v", tc.in, err, tc.err)
			continue
		}
		if tc.err != nil {
			if a != (Address{}) {
				t.Errorf("Parse(%q): address %+v beside an error", tc.in, a)
			}
			continue
		}
		if want := (Address{Exact: tc.in, Local: tc.local, Domain: tc.domain}); a != want {
			t.Errorf("Parse(%q) = %+v, want %+v", tc.in, a, want)
		}
	}
}

//
func TestParsePath(t *testing.T) {
	for _, tc := range []struct {
		in, exact, rest string
		err             error
	}{
		{in: "<a@x.org>", exact: "a@x.org"},
		{in: "<a@x.org> SIZE=1", exact: "a@x.org", rest: " SIZE=1"},
		{in: "  <a@x.org>", exact: "a@x.org"},
		{in: "<>", exact: ""},
		{in: "<> BODY=8BITMIME", exact: "", rest: " BODY=8BITMIME"},
		{in: "<Postmaster>", exact: "Postmaster"},
		{in: "<pOSTMASTER> NOTIFY=NEVER", exact: "pOSTMASTER", rest: " NOTIFY=NEVER"},
		{in: `<"> x"@x.org> A`, exact: `"> x"@x.org`, rest: " A"},
		{in: "<a@[192.0.2.1]> ", exact: "a@[192.0.2.1]", rest: " "},

		{in: "", err: ErrSyntax},
		{in: "a@x.org", err: ErrSyntax},
		{in: "\t<a@x.org>", err: ErrSyntax},
		{in: "<", err: ErrSyntax},
		{in: "<a@x.org", err: ErrSyntax},
		{in: "<a@x.org SIZE=1>", err: ErrSyntax},
		{in: "<a@x.org>SIZE=1", err: ErrSyntax},
		{in: "<a@x.org>>", err: ErrSyntax},
		{in: "< a@x.org>", err: ErrSyntax},
		{in: "<a@x.org >", err: ErrSyntax},
		{in: "< >", err: ErrSyntax},
		{in: "<<a@x.org>>", err: ErrSyntax},
		{in: "<@a.org:b@c.org>", err: ErrSyntax},
		{in: "<@a.org>", err: ErrSyntax},
		{in: `<"postmaster">`, err: ErrNotQualified},
		{in: "<alice>", err: ErrNotQualified},
		{in: "<alice", err: ErrSyntax},
		{in: "<alice@localhost>", err: ErrNotQualified},
	} {
		a, rest, err := ParsePath(tc.in, false)
		if !errors.Is(err, tc.err) || a.Exact != tc.exact || rest != tc.rest {
			t.Errorf("ParsePath(%q) = %+v, %q, %v; want %q, %q, %v", tc.in, a, rest, err, tc.exact, tc.rest, tc.err)
		}
	}
	if a, _, _ := ParsePath("<>", false); !a.IsNull() || a.IsPostmaster() {
		t.Error("<> is not null")
	}
	if a, _, _ := ParsePath("<POSTmaster>", false); a.IsNull() || !a.IsPostmaster() {
		t.Error("<POSTmaster> is not postmaster")
	}
	if a, _ := Parse("postmaster@x.org", false); a.IsPostmaster() {
		t.Error("postmaster@x.org has a domain")
	}
	if _, _, err := ParsePath("<@a.org:b@c.org>", false); err.Error() != "source routes are not supported" {
		t.Errorf("source route: %v", err)
	}
}

func TestKeyAndEqual(t *testing.T) {
	paths := func(s string) Address {
		a, _, err := ParsePath(s, true)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		return a
	}
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"<a@x.org>", "<a@X.ORG>", true},
		{"<a@x.org>", "<A@x.org>", true}, // names fold
		{"<mü@x.org>", "<MU\u0308@x.org>", true},
		{`<"a"@x.org>`, "<a@x.org>", true},
		{`<"a@b"@x.org>`, "<a@x.org>", false},
		{"<a@bücher.example>", "<a@XN--BCHER-kva.example>", true},
		{"<a@BÜCHER.example>", "<a@bücher.EXAMPLE>", true},
		{"<a@straße.example>", "<a@strasse.example>", false},
		{"<a@[IPv6:2001:DB8:0:0::1]>", "<a@[ipv6:2001:db8::1]>", true},
		{"<a@[192.0.2.1]>", "<a@[192.0.2.2]>", false},
		{"<Postmaster>", "<postmaster>", true},
		{"<Postmaster>", "<postmaster@x.org>", false},
		{"<>", "<>", true},
		{"<>", "<Postmaster>", false},
	} {
		a, b := paths(tc.a), paths(tc.b)
		if Equal(a, b) != tc.same || (a.Key() == b.Key()) != tc.same {
			t.Errorf("%s, %s: Equal %v, keys %q and %q; want same = %v", tc.a, tc.b, Equal(a, b), a.Key(), b.Key(), tc.same)
		}
	}
	if k := paths("<A.b@Bücher.Example>").Key(); k != "a.b@xn--bcher-kva.example" {
		t.Errorf("key %q", k)
	}
	if k := paths("<A.b@Bücher.Example>").KeyCase(names.Exact); k != "A.b@xn--bcher-kva.example" {
		t.Errorf("exact key %q", k)
	}
	if !paths("<ü@x.org>").NeedsUTF8() || !paths("<a@bücher.example>").NeedsUTF8() || paths("<a@x.org>").NeedsUTF8() {
		t.Error("NeedsUTF8")
	}
}

func TestValidDomain(t *testing.T) {
	for _, ok := range []string{"mijnbedrijf.nl", "localhost", "LAPTOP-7", "192.0.2.1", "[192.0.2.1]", "[IPv6:::1]"} {
		if err := ValidDomain(ok, false); err != nil {
			t.Errorf("ValidDomain(%q): %v", ok, err)
		}
	}
	for _, bad := range []string{"", ".", "a_b", "a b", "-a", "a.", "[1]", "[", "bücher.example", "a\x00", strings.Repeat("a.", 127) + "aa"} {
		if err := ValidDomain(bad, false); !errors.Is(err, ErrSyntax) {
			t.Errorf("ValidDomain(%q): %v", bad, err)
		}
	}
	if err := ValidDomain("bücher.example", true); err != nil {
		t.Error(err)
	}
}

// Refusing and parsing what nearly every command holds allocates nothing.
func TestNoAllocations(t *testing.T) {
	for _, in := range []string{"<ik@mijnbedrijf.nl> SIZE=100", `<"a b"@x.org>`, "<>", "<nobody>", "<a@[IPv6:2001:db8::1]>", "<@a:b@c>"} {
		if n := testing.AllocsPerRun(100, func() { _, _, _ = ParsePath(in, false) }); n != 0 {
			t.Errorf("ParsePath(%q): %v allocations", in, n)
		}
	}
	a, _ := Parse("ik@mijnbedrijf.nl", false)
	if n := testing.AllocsPerRun(100, func() { _ = a.ASCIIDomain(); _ = Equal(a, a) }); n != 0 {
		t.Errorf("comparison: %v allocations", n)
	}
}

func BenchmarkParsePath(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParsePath("<belastingdienst@overheid.example.nl> NOTIFY=NEVER", false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKey(b *testing.B) {
	a, _ := Parse("belastingdienst@overheid.nl", false)
	b.ReportAllocs()
	for b.Loop() {
		_ = a.Key()
	}
}

// DomainOf says what parsing says.
func TestDomainOf(t *testing.T) {
	for _, mailbox := range []string{"a@example.org", "a@EXAMPLE.org", `"a@b"@example.org`, "a@bücher.example", "a@[192.0.2.1]", "a@[IPv6:2001:DB8::0:1]", "a@[ipv6:2001:db8::1]"} {
		a, err := Parse(mailbox, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := DomainOf(mailbox); got != a.ASCIIDomain() {
			t.Errorf("%s: %s, want %s", mailbox, got, a.ASCIIDomain())
		}
	}
	if DomainOf("") != "" || DomainOf("Postmaster") != "" {
		t.Error("a path without a domain has one")
	}
}
