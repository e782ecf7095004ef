package authldap

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

var (
	peer = caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1")}
	ctx  = context.Background()
)

const (
	suffix = "dc=example,dc=org"
	below  = "ou=people," + suffix
	finder = "cn=search," + suffix
)

// provision loads the module as a configuration would.
func provision(t testing.TB, l *LDAP) (*LDAP, error) {
	t.Helper()
	l.Timeout = cmp.Or(l.Timeout, conf.Duration(time.Minute)) // a busy machine does not keep the default of 5 seconds
	err := l.Provision(msatest.Context(t))
	t.Cleanup(func() { _ = l.Cleanup() })
	return l, err
}

func must(t testing.TB, l *LDAP) *LDAP {
	t.Helper()
	if _, err := provision(t, l); err != nil {
		t.Fatal(err)
	}
	return l
}

// passwordOnly and lookupToo are what a backend serves that binds: the suite asks by type.
type passwordOnly struct{ caddymsa.PasswordVerifier }

type lookupToo struct {
	caddymsa.PasswordVerifier
	caddymsa.Lookuper
}

func served(l *LDAP) any {
	switch {
	case l.Serves(caddymsa.CapDigest):
		return l
	case l.Serves(caddymsa.CapLookup):
		return lookupToo{l, l}
	}
	return passwordOnly{l}
}

// ways are the three ways to check a password, each with what else it can.
func ways(s *slapd) map[string]*LDAP {
	return map[string]*LDAP{
		"bind": {Servers: []string{s.ldap}, UserDN: "uid={local}," + below, Domains: []string{"example.org"}},
		"bind and read": {Servers: []string{s.ldap}, UserDN: "uid={local}," + below, UserAttributes: []string{"mail"}, Addresses: []string{"mail"},
			Disabled: "(employeeType=former)"},
		"bind and search": {Servers: []string{s.ldap}, UserDN: "uid={local}," + below, UserAttributes: []string{"mail"}, Base: suffix, Disabled: "(employeeType=former)"},
		"bind with a service account": {Servers: []string{s.ldap}, UserDN: "uid={local}," + below, Domains: []string{"example.org"}, BindDN: finder, BindPassword: "find it",
			Disabled: "(employeeType=former)"},
		"search":                           {Servers: []string{s.ldap}, Base: below, BindDN: finder, BindPassword: "find it", Disabled: "(employeeType=former)"},
		"search anonymously, with a cache": {Servers: []string{s.ldap}, Base: suffix, Cache: conf.Duration(1e12), Disabled: "(employeeType=former)"},
		"search by StartTLS":               {Servers: []string{s.ldap}, StartTLS: true, TLSClient: conf.TLSClient{CA: []string{s.ca}}, Base: suffix, DecoyDN: "cn=decoy," + suffix, Disabled: "(employeeType=former)"},
		"search by ldaps":                  {Servers: []string{s.ldaps}, TLSClient: conf.TLSClient{CA: []string{s.ca}}, Base: suffix, Disabled: "(employeeType=former)"},
		"search by ldapi":                  {Servers: []string{"ldapi://" + s.dir + "/socket"}, Base: suffix, Disabled: "(employeeType=former)"},
		"stored": {Servers: []string{s.ldaps}, TLSClient: conf.TLSClient{CA: []string{s.ca}}, Base: suffix, BindDN: finder, BindPassword: "find it", PasswordAttribute: "userPassword",
			Disabled: "(employeeType=former)"},
	}
}

//
func TestConformance(t *testing.T) {
	s := startSlapd(t)
	for name, l := range ways(s) {
		t.Run(name, func(t *testing.T) {
			must(t, l)
			bob := msatest.User{Name: "bob@example.org", Password: "hunter2"}
			if l.stored != nil { // his password is stored in clear text
				bob.DigestUser, bob.Realm, bob.SCRAM = "bob", "example.org", true
			}
			msatest.Auth(t, served(l), msatest.User{Name: "alice@example.org", Password: "secret"}, bob)
			refusedAll(t, l)
		})
	}
}

// A password that SASLprep changes: what is typed gets in, whether that is what is stored or what SASLprep
// makes of it. Names are one in any spelling. The operator is told why somebody is refused.
func TestFormsAndReasons(t *testing.T) {
	s := startSlapd(t)
	for way, l := range ways(s) {
		t.Run(way, func(t *testing.T) {
			must(t, l)
			for _, user := range []string{"typed@example.org", "prepared@example.org", "composed@example.org", "Typed@Example.org"} {
				if id, err := l.VerifyPassword(ctx, peer, user, "m²pass cafe\u0301 nb\u00a0sp"); err != nil || !strings.EqualFold(id.User, user) {
					t.Errorf("%s: %+v, %v", user, id, err)
				}
				if _, err := l.VerifyPassword(ctx, peer, user, "m²pass cafe\u0301 nb\u00a0sp!"); !errors.Is(err, caddymsa.ErrCredentials) {
					t.Errorf("%s with a wrong password: %v", user, err)
				}
			}
			if !l.Serves(caddymsa.CapLookup) {
				return // only the server knows
			}
			_, wrong := l.VerifyPassword(ctx, peer, "bob@example.org", "wrong")
			_, unknown := l.VerifyPassword(ctx, peer, "nobody@example.org", "wrong")
			if caddymsa.Reason(wrong) != "wrong" || caddymsa.Reason(unknown) != "unknown" {
				t.Errorf("%v; %v", wrong, unknown)
			}
		})
	}
	l := must(t, &LDAP{Servers: []string{s.ldap}, Base: below, Disabled: "employeeType"})
	if _, err := l.VerifyPassword(ctx, peer, "former@example.org", "secret"); caddymsa.Reason(err) != "disabled" {
		t.Error(err)
	}
	for text, want := range map[string]string{"80090308: AcceptSecurityContext error, data 52e, v4563": "wrong", "80090308: AcceptSecurityContext error, data 533, v4563": "disabled", "data 775,": "disabled"} {
		if err := whyRefused(errors.New(text)); caddymsa.Reason(err) != want || !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// refusedAll tries who must not come in, whatever the way.
func refusedAll(t *testing.T, l *LDAP) {
	t.Helper()
	for _, user := range []string{
		"twin@example.org", "former@example.org", "locked@example.org", "nopassword@example.org", "alice@elsewhere.example",
		"*@example.org", "al*", "alice)(uid=*@example.org", "*)(mail=*", `\2a@example.org`, "alice\x00@example.org", "@example.org", "@",
		"alice,ou=people@example.org", "alice+mail=x@example.org", "bob,dc=example@example.org", `alice\@example.org`, "#alice@example.org",
		"{user}", "{local}@{domain}", "nobody@example.org", "uid=alice," + below, "cn=root," + suffix,
	} {
		for _, password := range []string{"secret", "root", "find it", "", "nobody", "\x00", strings.Repeat("x", 2000), "nobody knows this"} {
			if user == "locked@example.org" && l.stored != nil {
				continue // that is known to the server alone
			}
			if user == "former@example.org" && l.Disabled == "" {
				continue
			}
			id, err := l.VerifyPassword(ctx, peer, user, password)
			if !errors.Is(err, caddymsa.ErrCredentials) || id.User != "" {
				t.Errorf("%q with %.20q: %+v, %v", user, password, id, err)
			}
		}
		if l.Serves(caddymsa.CapLookup) && !slices.Contains([]string{"locked@example.org", "nopassword@example.org"}, user) {
			if _, err := l.Lookup(ctx, peer, user); !errors.Is(err, caddymsa.ErrCredentials) {
				t.Errorf("looking up %q: %v", user, err)
			}
		}
	}
	for _, empty := range []string{"", "\x00", "\x00x"} { // RFC 4513 section 5.1.2
		if _, err := l.VerifyPassword(ctx, peer, "alice@example.org", empty); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("password %q: %v", empty, err)
		}
	}
}

// What is special in a DN is a part of the name.
func TestSpecialNames(t *testing.T) {
	s := startSlapd(t)
	for _, l := range []*LDAP{
		{Servers: []string{s.ldap}, UserDN: "uid={user}," + below},
		{Servers: []string{s.ldap}, UserDN: "uid={user}," + below, BindDN: finder, BindPassword: "find it"},
		{Servers: []string{s.ldap}, Base: below, Filter: "(uid={user})"},
	} {
		must(t, l)
		if id, err := l.VerifyPassword(ctx, peer, "we,ird+na#me", "weird"); err != nil || id.User != "we,ird+na#me" {
			t.Errorf("%+v, %v", id, err)
		}
	}
}

// With case exact a name counts as it is spelled, though the directory finds it in any spelling.
func TestCaseExact(t *testing.T) {
	s := startSlapd(t)
	for name, l := range map[string]*LDAP{
		"bind": {Servers: []string{s.ldap}, Base: suffix, Filter: "(mail={user})", UserAttributes: []string{"mail"}, Case: names.Exact},
		"stored": {Servers: []string{s.ldap}, Base: suffix, Filter: "(mail={user})", UserAttributes: []string{"mail"}, Case: names.Exact,
			BindDN: finder, BindPassword: "find it", PasswordAttribute: "userPassword"},
	} {
		l = must(t, l)
		id, err := l.VerifyPassword(ctx, peer, "Alice.Liddell@example.org", "secret")
		if err != nil || id.User != "Alice.Liddell@example.org" || id.Case != names.Exact {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
		if _, err := l.VerifyPassword(ctx, peer, "alice.liddell@example.org", "secret"); !errors.Is(err, caddymsa.ErrUnknownUser) {
			t.Errorf("%s: another spelling: %v", name, err)
		}
		if _, err := l.Lookup(ctx, peer, "ALICE.LIDDELL@example.org"); !errors.Is(err, caddymsa.ErrUnknownUser) {
			t.Errorf("%s: look-up of another spelling: %v", name, err)
		}
	}
}

//
func TestIdentity(t *testing.T) {
	s := startSlapd(t)
	l := must(t, &LDAP{
		Servers: []string{s.ldap}, Base: suffix, Filter: "(|(uid={user})(mail={user}))", UserAttributes: []string{"mail", "uid"},
		Addresses: []string{"mail", "mailLocalAddress"}, Attributes: []string{"employeeType", "departmentNumber", "title"},
	})
	id, err := l.VerifyPassword(ctx, peer, "ALICE.LIDDELL@example.org", "secret")
	if err != nil {
		t.Fatal(err)
	}
	if id.User != "Alice.Liddell@example.org" {
		t.Errorf("user %q, want the directory's spelling", id.User)
	}
	if id.Attributes["employeeType"] != "staff" || id.Attributes["departmentNumber"] != "42,7" || len(id.Attributes) != 2 {
		t.Errorf("attributes %v", id.Attributes)
	}
	s.set(t, "alice", "departmentNumber", "100") // a tariff
	if id, err = l.VerifyPassword(ctx, peer, "alice", "secret"); err != nil {
		t.Fatal(err)
	}
	msatest.Tariff(t, id, "departmentNumber", 100)
	for address, want := range map[string]bool{
		"alice@example.org": true, "alice.liddell@example.org": true, "Alice.Liddell@example.org": true, "any@alice.example.org": true,
		"bob@example.org": false, "alice@example.com": false,
	} {
		a, err := mailaddr.Parse(address, true)
		if err != nil {
			t.Fatal(err)
		}
		if id.MaySendAs(a) != want {
			t.Errorf("%s: %t", address, !want)
		}
	}
	again, err := l.Lookup(ctx, peer, id.User)
	if err != nil || again.Fingerprint != id.Fingerprint || again.User != id.User {
		t.Errorf("%+v, %v", again, err)
	}
}

// Decision 3: who is gone, disabled or has another password cannot go on.
func TestLookup(t *testing.T) {
	s := startSlapd(t)
	stored := must(t, &LDAP{Servers: []string{s.ldap}, Base: suffix, BindDN: finder, BindPassword: "find it", PasswordAttribute: "userPassword", Disabled: "employeeType"})
	binds := must(t, &LDAP{Servers: []string{s.ldap}, Base: suffix, Cache: conf.Duration(1e12), Fingerprint: []string{"entryUUID", "modifyTimestamp", "entryCSN"}, Disabled: "(employeeType=former)"})
	for name, l := range map[string]*LDAP{"stored": stored, "binds": binds} {
		if !l.Serves(caddymsa.CapLookup) {
			t.Fatal(name, "cannot look up")
		}
		s.set(t, "bob", "userPassword", "hunter2")
		before, err := l.VerifyPassword(ctx, peer, "bob@example.org", "hunter2")
		if err != nil {
			t.Fatal(err)
		}
		if now, err := l.Lookup(ctx, peer, before.User); err != nil || now.Fingerprint != before.Fingerprint {
			t.Errorf("%s: nothing has changed: %v", name, err)
		}
		s.set(t, "bob", "userPassword", "changed")
		if now, err := l.Lookup(ctx, peer, before.User); err != nil || now.Fingerprint == before.Fingerprint {
			t.Errorf("%s: another password, the same fingerprint: %v", name, err)
		}
		if _, err := l.VerifyPassword(ctx, peer, "bob@example.org", "hunter2"); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%s: the old password: %v", name, err)
		}
		s.set(t, "bob", "employeeType", "former")
		if _, err := l.Lookup(ctx, peer, before.User); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%s: disabled: %v", name, err)
		}
		if _, err := l.VerifyPassword(ctx, peer, "bob@example.org", "changed"); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%s: disabled, with the right password: %v", name, err)
		}
		s.set(t, "bob", "employeeType")
	}
	direct := must(t, &LDAP{Servers: []string{s.ldap}, UserDN: "uid={local}," + below, Domains: []string{"example.org"}})
	if direct.Serves(caddymsa.CapLookup) || direct.Serves(caddymsa.CapDigest) || !direct.Serves(caddymsa.CapPassword) {
		t.Error("who can only bind cannot look up")
	}
}

// What the settings cannot mean, and what the directory says to them.
func TestBadSettings(t *testing.T) {
	s := startSlapd(t)
	one := []string{s.ldap}
	for want, l := range map[string]*LDAP{
		"a server is required":      {},
		"user_dn or base":           {Servers: one},
		"bind_dn and bind_password": {Servers: one, Base: suffix, BindDN: finder},
		"write user_dn":             {Servers: one, Base: suffix, BindDN: "uid={user}", BindPassword: "x"},
		"takes alice@anywhere":      {Servers: one, UserDN: "uid={local}," + below},
		"cache needs":               {Servers: one, UserDN: "uid={user}," + below, Cache: 1},
		"password_attribute needs":  {Servers: one, UserDN: "uid={user}," + below, PasswordAttribute: "userPassword"},
		"is not a filter":           {Servers: one, Base: suffix, Filter: "(mail={user}"},
		"the same for everybody":    {Servers: one, Base: suffix, Filter: "(mail=alice)"},
		"is not a DN":               {Servers: one, Base: "people"},
		"{name} is not known":       {Servers: one, UserDN: "uid={name}," + below},
		"add base and filter":       {Servers: one, UserDN: "{user}", Addresses: []string{"mail"}},
		"there are ldaps://":        {Servers: []string{"https://ldap.example.org"}, Base: suffix},
		"contradict":                {Servers: one, Base: suffix, StartTLS: true, InsecurePlaintext: true},
		"no such file":              {Servers: one, Base: suffix, TLSClient: conf.TLSClient{CA: []string{s.dir + "/nothing"}}},
		"service account":           {Servers: one, Base: suffix, BindDN: finder, BindPassword: "wrong"},
		"No Such Object":            {Servers: one, Base: "ou=nowhere," + suffix},
		"is not one of sub or one":  {Servers: one, Base: suffix, Scope: "all"},
		"decoy":                     {Servers: one, Base: suffix, Decoy: "ROT13"},
	} {
		if _, err := provision(t, l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
