package mailaddr

import (
	"fmt"
	"strings"
	"testing"
)

// A set says what its patterns say.
func TestSet(t *testing.T) {
	patterns := []string{"bob@example.org", "@example.net", "*@*.sub.example", "bücher.example", "*.example.com", `"a b"@example.org`, "a+b@example.org", `""@empty.example`, "x@[192.0.2.1]"}
	addresses := []string{
		"bob@example.org", "bob+tag@EXAMPLE.org", "bob+a+b@example.org", "Bob@example.org", "bobby@example.org", "carol@example.net", "x@a.example.net", "x@sub.example", "x@a.b.sub.example",
		"x@xn--bcher-kva.example", "x@example.com", "x@a.example.com", `"a b"@example.org`, `"a b+c"@example.org`, "a+b@example.org", "a+b+c@example.org", "a@example.org", "a+c@example.org",
		`""@empty.example`, `"+x"@empty.example`, "x@[192.0.2.1]", "y@[192.0.2.1]", "x@notexample.com",
	}
	var s Set
	for _, p := range patterns {
		if err := s.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	if s.Len() != len(patterns) {
		t.Errorf("%d patterns", s.Len())
	}
	for _, text := range addresses {
		a, err := Parse(text, true)
		if err != nil {
			t.Fatal(err)
		}
		want := false
		for _, p := range patterns {
			if pattern, err := ParsePattern(p); err == nil {
				want = want || pattern.Match(a)
			} else if domain, err := ParseDomainPattern(p); err == nil {
				want = want || domain.Match(a.ASCIIDomain())
			}
		}
		if got := s.Has(a); got != want {
			t.Errorf("%s: %v, the patterns say %v", text, got, want)
		}
	}
	if s.Has(Address{}) || s.Has(Address{Exact: "Postmaster", Local: "Postmaster"}) || new(Set).Has(Address{Exact: "a@b.example", Local: "a", Domain: "b.example"}) {
		t.Error("what has no domain is in the set, or anything in an empty one")
	}
	for _, bad := range []string{"", "@", "a@b@c", "exa mple", "*@*"} {
		if s.Add(bad) == nil {
			t.Errorf("%q was added", bad)
		}
	}
	// What would be a wildcard elsewhere is no mailbox that anybody means.
	for _, text := range []string{"invoice*@example.org", "*-test@example.org"} {
		if err := s.Add(text); err == nil || !strings.Contains(err.Error(), "*@example.org") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := s.Add(`"a*b"@example.org`); err != nil || !s.Has(Address{Exact: "a*b@example.org", Local: "a*b", Domain: "example.org"}) {
		t.Errorf("an asterisk in quotes: %v", err)
	}
	if err := s.Add("*"); err != nil || !s.Has(Address{Exact: "a@b.example", Local: "a", Domain: "b.example"}) {
		t.Error("* is not all")
	}
}

func BenchmarkSet(b *testing.B) {
	var s Set
	for i := range 100_000 {
		_ = s.Add(fmt.Sprintf("user%d@example%d.org", i, i%100))
	}
	_ = s.Add("*.example.com")
	a, _ := Parse("user77777+tag@example77.org", false)
	b.ReportAllocs()
	for b.Loop() {
		if !s.Has(a) {
			b.Fatal("not found")
		}
	}
}
