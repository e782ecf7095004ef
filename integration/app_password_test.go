package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// A fleet of devices has a password each: the log and the journal say which was used, and one that is revoked ends its
// sessions and no other's.
func TestAppPasswords(t *testing.T) {
	t.Parallel()
	l := layout{auth: "auth {\n\t\tmechanisms PLAIN\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}", msa: "\n\tdeliver discard"}
	s := newServer(t)
	app := func(label, secret string) string {
		c, err := passwd.Generate("SCRAM-SHA-256", "alice@example.org", secret, passwd.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return " app_password=" + passwd.FormatAppPassword(label, time.Time{}, nil, []string{c})
	}
	phone, tablet := app("phone", "phone-secret"), app("tablet", "tablet-secret")
	s.write("users.passwd", "alice@example.org:::::::"+phone+tablet+" app_password=old;expires=2026-01-01;{PLAIN}old-secret\n")
	s.write("Caddyfile", s.caddyfile(l))
	s.run()
	open := func(user, secret string) *talker {
		t.Helper()
		c, err := connect("tcp", s.implicit, s.tlsConfig())
		if err == nil {
			err = all(func() error { return c.do("250", "EHLO client.example.org") }, func() error { return c.login(user, secret) })
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.close)
		return c
	}
	one, two := open("alice@example.org", "phone-secret"), open("alice@example.org+tablet", "tablet-secret")
	for _, c := range []*talker{one, two} {
		if _, err := c.submit("alice@example.org", "bob@example.net", letter("app")); err != nil {
			t.Fatal(err)
		}
	}
	s.logged("message accepted", `"app_password":"phone"`, `"user":"alice@example.org"`)
	s.logged("message accepted", `"app_password":"tablet"`, `"user":"alice@example.org"`)
	s.await("both facts", func() bool {
		_, body := s.adminRequest("GET", "/msa/history?user=alice@example.org&state=accepted", "")
		return strings.Contains(body, `"app_password":"phone"`) && strings.Contains(body, `"app_password":"tablet"`)
	})
	if code := s.authAs("alice@example.org", "old-secret"); code != "535" {
		t.Error("expired:", code)
	}
	s.logged("authentication failed", `"reason":"expired"`, "535 5.7.8")

	s.write("users.passwd", "alice@example.org:::::::"+tablet+"\n")
	if status, body := s.adminRequest("POST", "/msa/reload/auth", ""); status != 200 {
		t.Fatal(status, body)
	}
	if err := one.do("421", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error("revoked:", err)
	}
	if _, err := two.submit("alice@example.org", "bob@example.net", letter("app")); err != nil {
		t.Error("the other one:", err)
	}
}
