package authldap

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/go-ldap/ldap/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

func TestCredential(t *testing.T) {
	for value, want := range map[string]string{
		"secret":              "{PLAIN.b64}c2VjcmV0",
		"{cleartext}secret":   "{PLAIN.b64}c2VjcmV0",
		"!locked":             "{PLAIN.b64}IWxvY2tlZA==",
		"{ssha}abc=":          "{SSHA}abc=",
		"{MD5}abc=":           "{LDAP-MD5}abc=",
		"{ARGON2}$argon2id$x": "{ARGON2ID}$argon2id$x",
		"{BCRYPT}$2b$x":       "{BLF-CRYPT}$2b$x",
		"{CRYPT}$6$x$y":       "{CRYPT}$6$x$y",
		"{SASL}a@B":           "{SASL}a@B",
		"SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy":   "{SCRAM-SHA-256}4096,c2FsdA==,c3RvcmVk,c2VydmVy",
		"{SCRAM-SHA-256}4096:c2FsdA==$c3RvcmVk:c2VydmVy":  "{SCRAM-SHA-256}4096,c2FsdA==,c3RvcmVk,c2VydmVy",
		"{SCRAM-SHA-256}4096,c2FsdA==,c3RvcmVk,c2VydmVy=": "{SCRAM-SHA-256}4096,c2FsdA==,c3RvcmVk,c2VydmVy=",
	} {
		if got := credential(value); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
}

// The log has one line an hour about a user whom the directory keeps out, however often somebody asks.
func TestComplainsSometimes(t *testing.T) {
	d := &directory{options: &options{userAttributes: []string{"uid"}}}
	core, logs := observer.New(zap.WarnLevel)
	d.log.add(zap.New(core))
	for range 10 {
		for _, name := range []string{"alice", "bob"} {
			if _, err := d.standing(name, ldap.NewEntry("uid=x,dc=example", map[string][]string{"uid": {"x"}})); !errors.Is(err, caddymsa.ErrUnknownUser) {
				t.Error(err)
			}
		}
	}
	if logs.Len() != 2 {
		t.Errorf("%d lines: %v", logs.Len(), logs.All())
	}
}

// What OpenLDAP writes, this server compares as OpenLDAP does; of several values any will do.
func TestStoredSchemes(t *testing.T) {
	s := startSlapd(t, "moduleload argon2", "moduleload pw-sha2")
	l := must(t, &LDAP{Servers: []string{s.ldap}, Base: suffix, BindDN: finder, BindPassword: "find it", PasswordAttribute: "userPassword"})
	var all []string
	for _, args := range [][]string{
		{"-h", "{SSHA}"}, {"-h", "{SHA}"}, {"-h", "{SMD5}"}, {"-h", "{MD5}"}, {"-h", "{CRYPT}", "-c", "$6$%.16s"}, {"-h", "{CRYPT}", "-c", "$5$%.16s"},
		{"-o", "module-path=/usr/lib/ldap", "-o", "module-load=argon2", "-h", "{ARGON2}"},
		{"-o", "module-path=/usr/lib/ldap", "-o", "module-load=pw-sha2", "-h", "{SSHA512}"},
		{"-o", "module-path=/usr/lib/ldap", "-o", "module-load=pw-sha2", "-h", "{SHA256}"},
		{"-h", "{CLEARTEXT}"},
	} {
		args = append(args, "-s", "pässword {SSHA}", "-n")
		cmd := exec.Command(installed.Need(t, "slapd"), args...)
		cmd.Args[0] = "slappasswd"
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("slappasswd %v: %v", args, err)
		}
		value := string(out)
		all = append(all, value)
		s.set(t, "bob", "userPassword", value)
		byServer := s.binds("uid=bob,"+below, "pässword {SSHA}")
		_, err = l.VerifyPassword(ctx, peer, "bob@example.org", "pässword {SSHA}")
		if err != nil || byServer != nil {
			t.Errorf("%v: %v; the server says %v", args, err, byServer)
		}
		if _, err := l.VerifyPassword(ctx, peer, "bob@example.org", "wrong"); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%v, a wrong password: %v", args, err)
		}
	}
	s.set(t, "bob", "description", "{CRYPT}!", "{SASL}bob@EXAMPLE.ORG", "{ROT13}frperg", all[0])
	l = must(t, &LDAP{Servers: []string{s.ldap}, Base: suffix, PasswordAttribute: "description"})
	if _, err := l.VerifyPassword(ctx, peer, "bob@example.org", "pässword {SSHA}"); err != nil {
		t.Error("beside values that cannot be used:", err)
	}
}

func (s *slapd) binds(dn, password string) error {
	c, err := ldap.DialURL(s.ldap)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Bind(dn, password)
}

// An upper-case name has the salt of the user, as every name of nobody has that of its lower case.
func TestSaltsOfCases(t *testing.T) {
	s := startSlapd(t)
	l := must(t, &LDAP{Servers: []string{s.ldap}, Base: suffix, BindDN: finder, BindPassword: "find it", PasswordAttribute: "userPassword"})
	salt := func(name string) string {
		key, _, err := l.SCRAMCredential(ctx, peer, name)
		if err != nil && !errors.Is(err, caddymsa.ErrCredentials) {
			t.Fatal(err)
		}
		return string(key.Salt)
	}
	if salt("bob@example.org") != salt("BOB@example.org") || salt("nobody@example.org") != salt("NOBODY@example.org") {
		t.Error("the case of a name tells whether it is a user's")
	}
	key, _, err := l.SCRAMCredential(ctx, peer, "bob@example.org")
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := sasl.NewSCRAMCredential("hunter2", key.Salt, key.Iterations); string(want.StoredKey) != string(key.StoredKey) {
		t.Error("the key is not the password's")
	}
}

// a name that nobody has costs the server what a wrong password does.
func TestRoundTrips(t *testing.T) {
	s := startSlapd(t, "moduleload back_monitor", "database monitor", "access to * by * read")
	for what, l := range map[string]*LDAP{
		"search":  {Servers: []string{s.ldap}, Base: suffix, Disabled: "(employeeType=former)"},
		"decoy":   {Servers: []string{s.ldap}, Base: suffix, DecoyDN: "cn=decoy," + suffix},
		"service": {Servers: []string{s.ldap}, UserDN: "uid={local}," + below, Domains: []string{"example.org"}, BindDN: finder, BindPassword: "find it"},
		"direct":  {Servers: []string{s.ldap}, UserDN: "uid={local}," + below, Domains: []string{"example.org"}},
	} {
		must(t, l)
		answered(t, l, what)
		var first map[string]int
		for _, name := range []string{"bob@example.org", "nobody@example.org", "twin@example.org", "alice@example.org", "nopassword@example.org"} {
			before := s.operations(t)
			if _, err := l.VerifyPassword(ctx, peer, name, "wrong"); !errors.Is(err, caddymsa.ErrCredentials) {
				t.Error(err)
			}
			after := s.operations(t)
			cost := map[string]int{"Search": after["Search"] - before["Search"], "Bind": after["Bind"] - before["Bind"]}
			if first == nil {
				first = cost
			}
			if cost["Search"] != first["Search"] || cost["Bind"] != first["Bind"] {
				t.Errorf("%s: %s costs %v, a wrong password %v", what, name, cost, first)
			}
		}
	}
}

// operations is how many of each kind the server has begun.
func (s *slapd) operations(t *testing.T) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	s.as(t, func(c *ldap.Conn) error {
		r := ldap.NewSearchRequest("cn=Operations,cn=Monitor", ldap.ScopeSingleLevel, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"cn", "monitorOpInitiated"}, nil)
		result, err := c.Search(r)
		if err != nil {
			return err
		}
		for _, e := range result.Entries {
			if counts[e.GetAttributeValue("cn")], err = strconv.Atoi(e.GetAttributeValue("monitorOpInitiated")); err != nil {
				return err
			}
		}
		return nil
	})
	return counts
}

func TestCaddyfile(t *testing.T) {
	var l LDAP
	err := l.UnmarshalCaddyfile(caddyfile.NewTestDispenser(`ldap ldaps://a ldap://b {
		start_tls
		ca a.pem b.pem
		client_certificate c.pem k.pem
		user_dn uid={local},dc=x
		user_attributes mail uid
		timeout 2s
		concurrency 3
		cache 5m
	}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Servers) != 2 || !l.StartTLS || len(l.CA) != 2 || l.ClientKey != "k.pem" || l.UserDN != "uid={local},dc=x" || len(l.UserAttributes) != 2 ||
		l.Timeout != conf.Duration(2e9) || l.Concurrency != 3 || l.Cache != conf.Duration(3e11) {
		t.Errorf("%+v", l)
	}
	for _, text := range []string{
		"ldap", "ldap a {\n base\n}", "ldap a {\n base a b\n}", "ldap a {\n bass a\n}", "ldap a {\n start_tls yes\n}", "ldap a {\n timeout soon\n}",
		"ldap a {\n timeout\n}", "ldap a {\n concurrency 0\n}", "ldap a {\n addresses\n}", "ldap a {\n client_certificate c\n}", "ldap a {\n cache\n}",
	} {
		if err := new(LDAP).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil {
			t.Errorf("%q: no error", text)
		} else if strings.Contains(err.Error(), "%!") {
			t.Error(err)
		}
	}
}
