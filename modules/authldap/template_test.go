package authldap

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

func TestTemplate(t *testing.T) {
	for _, c := range []struct{ template, name, want string }{
		{"uid={local},dc=x", "alice@example.org", "uid=alice,dc=x"},
		{"uid={local},dc=x", "alice", "uid=alice,dc=x"},
		{"uid={user},dc=x", `a,b+c"\<>;=#`, `uid=a\,b\+c\"\\\<\>\;=#,dc=x`},
		{"uid={user},dc=x", "#alice", `uid=\#alice,dc=x`},
		{"uid={user}", "{local}@{domain}", "uid={local}@{domain}"}, // once only
		{"uid={local},dc={domain}", "alice", ""},
		{"uid={local}", "@example.org", ""},
		{`{local}@corp.example.org`, "alice+tag@example.org", "alice+tag@corp.example.org"},
		{`CORP\{local}`, "alice@example.org", `CORP\alice`},
	} {
		tmpl, _, err := newBindName(c.template)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := tmpl.expand(c.name); got != c.want {
			t.Errorf("%s for %s: %s, want %s", c.template, c.name, got, c.want)
		}
	}
	filter, err := newFilter("(|(uid={local})(mail={user}))")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := filter.expand(`*)(uid=\2a@x`); got != `(|(uid=\2a\29\28uid=\5c2a)(mail=\2a\29\28uid=\5c2a@x))` {
		t.Error(got)
	}
}

// FuzzTemplate: whatever the name is, it is one value in the DN and one in the filter.
func FuzzTemplate(f *testing.F) {
	for _, name := range []string{
		"alice@example.org", "*", ")(uid=*", `\2a`, "a\x00b", ",dc=x", "+cn=y", "#41", " a ", `"`, "é@exämple.org", "\xff", "{user}", "a=b", "a  b", "\\", "@",
	} {
		f.Add(name)
	}
	dn, err := newDN("uid={user},ou=people,dc=example,dc=org")
	if err != nil {
		f.Fatal(err)
	}
	filter, err := newFilter("(&(objectClass=person)(mail={user}))")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if passwd.CheckName(name) != nil {
			return // never gets so far
		}
		text, err := dn.expand(name)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ldap.ParseDN(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(parsed.RDNs) != 4 || len(parsed.RDNs[0].Attributes) != 1 || parsed.RDNs[0].Attributes[0].Value != name {
			t.Errorf("%q: %v", text, parsed)
		}
		text, err = filter.expand(name)
		if err != nil {
			t.Fatal(err)
		}
		packet, err := ldap.CompileFilter(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(packet.Children) != 2 || len(packet.Children[1].Children) != 2 || packet.Children[1].Tag != ldap.FilterEqualityMatch ||
			packet.Children[1].Children[1].Data.String() != name {
			t.Errorf("%q", text)
		}
		for _, c := range []names.Case{names.Folded, names.Exact} {
			if once := fold(c, name); fold(c, once) != once {
				t.Errorf("%q is folded to %q, and that to %q", name, once, fold(c, once))
			}
		}
	})
}

func TestFold(t *testing.T) {
	for _, same := range [][]string{{"Alice@Example.ORG", "alice@example.org"}, {"a  B", "a b"}, {"Ⅸ", "ix"}, {"al\u00adice", "alice"}} {
		if a, b := fold(names.Folded, same[0]), fold(names.Folded, same[1]); a != b {
			t.Errorf("%q is %q, %q is %q", same[0], a, same[1], b)
		}
	}
	if a, b := fold(names.Exact, "Alice  x"), fold(names.Exact, "alice x"); a == b || a != "Alice x" {
		t.Error("capitals do not count with case exact:", a, b)
	}
}

func TestAddress(t *testing.T) {
	for value, want := range map[string]string{
		"a@example.org": "a@example.org", "A@example.org": "A@example.org", "SMTP:a@example.org": "a@example.org",
		"smtp:a@example.org": "a@example.org", "X500:/o=x": "", "sip:a@example.org": "", `"a:b"@example.org`: `"a:b"@example.org`, "@example.org": "@example.org",
	} {
		if got, ours := address(value); ours != (want != "") || ours && got != want {
			t.Errorf("%s: %s %t, want %s", value, got, ours, want)
		}
	}
}

func TestDomains(t *testing.T) {
	o := &options{domains: []string{"example.org", "xn--exmple-cua.org"}}
	for name, want := range map[string]bool{
		"alice": true, "alice@example.org": true, "alice@exämple.org": true, "alice@example.com": false, "alice@example.org@example.com": false,
		"alice@.": false, "": false, "a\x00": false, strings.Repeat("a", 256): false,
	} {
		if o.admits(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}

func TestValuesAreSorted(t *testing.T) {
	e := ldap.NewEntry("cn=x", map[string][]string{"mail": {"c", "a", "b"}})
	if got := values(e, "MAIL"); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Error(got)
	}
}
