package authldap

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// The service account may be whom a client certificate or the process's own user stands for.
func TestExternal(t *testing.T) {
	s := startSlapd(t, "TLSVerifyClient try")
	self := fmt.Sprintf("gidNumber=%d+uidNumber=%d,cn=peercred,cn=external,cn=auth", os.Getgid(), os.Getuid())
	for want, l := range map[string]*LDAP{
		self:           {Servers: []string{"ldapi://" + s.dir + "/socket"}, BindExternal: true, Base: suffix},
		"cn=localhost": {Servers: []string{s.ldaps}, TLSClient: conf.TLSClient{CA: []string{s.ca}, ClientCertificate: s.dir + "/cert.pem", ClientKey: s.dir + "/key.pem"}, BindExternal: true, Base: suffix},
	} {
		must(t, l)
		answered(t, l, want)
		who, err := l.dir.servers[0].idle[searches][0].WhoAmI(nil)
		if err != nil || who.AuthzID != "dn:"+want {
			t.Errorf("%v, %v, want %s", who, err, want)
		}
	}
}

// Referrals are not followed: where they lead is not where the operator's passwords should go.
func TestReferral(t *testing.T) {
	s := startSlapd(t)
	s.as(t, func(c *ldap.Conn) error {
		r := ldap.NewAddRequest("uid=moved,"+below, []ldap.Control{ldap.NewControlManageDsaIT(true)})
		r.Attribute("objectClass", []string{"referral", "extensibleObject"})
		r.Attribute("uid", []string{"moved"})
		r.Attribute("mail", []string{"moved@example.org"})
		r.Attribute("ref", []string{s.ldap + "/uid=alice," + below})
		return c.Add(r)
	})
	search := must(t, &LDAP{Servers: []string{s.ldap}, Base: suffix})
	if _, err := search.VerifyPassword(ctx, peer, "moved@example.org", "secret"); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error(err)
	}
	answered(t, search, "beside a referral")
	direct := must(t, &LDAP{Servers: []string{s.ldap}, UserDN: "uid={local}," + below, Domains: []string{"example.org"}})
	if _, err := direct.VerifyPassword(ctx, peer, "moved@example.org", "secret"); err == nil {
		t.Error("the referral was followed")
	}
	answered(t, direct, "after a referral")
}

// A base may follow from the name: a domain that is not there is an unknown user.
func TestBaseOfTheDomain(t *testing.T) {
	s := startSlapd(t)
	l := must(t, &LDAP{Servers: []string{s.ldap}, Base: "ou=people,o={domain},dc=example,dc=org", Filter: "(uid={local})"})
	for _, name := range []string{"alice@example.org", "alice@nowhere.example", "alice", "alice@x,dc=example"} {
		if _, err := l.VerifyPassword(ctx, peer, name, "secret"); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.as(t, func(c *ldap.Conn) error {
		for _, dn := range []string{"o=example.com,dc=example,dc=org", "ou=people,o=example.com,dc=example,dc=org"} {
			r := ldap.NewAddRequest(dn, nil)
			r.Attribute("objectClass", []string{map[byte]string{'o': "organization"}[dn[0]]})
			if dn[1] == 'u' {
				r.Attributes[0].Vals[0] = "organizationalUnit"
			}
			if err := c.Add(r); err != nil {
				return err
			}
		}
		r := ldap.NewAddRequest("uid=alice,ou=people,o=example.com,dc=example,dc=org", nil)
		r.Attribute("objectClass", []string{"inetOrgPerson"})
		r.Attribute("cn", []string{"Alice"})
		r.Attribute("sn", []string{"Liddell"})
		r.Attribute("userPassword", []string{"other"})
		return c.Add(r)
	})
	if id, err := l.VerifyPassword(ctx, peer, "alice@example.com", "other"); err != nil || id.User != "alice@example.com" {
		t.Errorf("%+v, %v", id, err)
	}
}
