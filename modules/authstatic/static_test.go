package authstatic

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

func provision(t *testing.T, users ...User) (*Static, error) {
	t.Helper()
	s := &Static{Users: users}
	return s, s.Provision(msatest.Context(t))
}

func generate(t *testing.T, scheme string) string {
	t.Helper()
	c, err := passwd.Generate(scheme, "alice@example.org", "secret", passwd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

//
func TestConformance(t *testing.T) {
	s, err := provision(t, User{Name: "alice@example.org", Password: generate(t, "SCRAM-SHA-256")})
	if err != nil {
		t.Fatal(err)
	}
	msatest.Auth(t, s, msatest.User{Name: "alice@example.org", Password: "secret", SCRAM: true})
}

func TestBadUsers(t *testing.T) {
	good := generate(t, "SHA512-CRYPT")
	for want, users := range map[string][]User{
		"CRAM-MD5 is not supported":  {{Name: "alice@example.org", Password: "{CRAM-MD5}" + strings.Repeat("00", 32)}},
		`"Bob" is the same as "bob"`: {{Name: "bob", Password: good}, {Name: "Bob", Password: good}},
		"at least one user":          nil,
		"required":                   {{Name: "alice@example.org"}},
		"one-way hash":               {{Name: "alice@example.org", Password: "{PLAIN}secret"}},
		"or SCRAM-SHA-256":           {{Name: "alice@example.org", Password: generate(t, "DIGEST-MD5")}},
		"caddy msa user makes one":   {{Name: "alice@example.org", Password: "secret"}},
		"write the hash itself":      {{Name: "alice@example.org", Password: "{env.HASH}"}},
		"alice@example.org":          {{Name: "alice@example.org", Password: good}, {Name: "alice@example.org", Password: good}},
	} {
		if _, err := provision(t, users...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// static takes what `caddy msa user` prints: several credentials, addresses, as a line or in pieces.
func TestPrinted(t *testing.T) {
	creds := []string{generate(t, "ARGON2ID"), generate(t, "SCRAM-SHA-256")}
	line, err := passwd.FormatLine("alice@example.org", creds, []string{"@example.net", "a@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{line, "`" + line + "`", "alice@example.org " + strings.Join(creds, " ") + " @example.net a@example.org", "alice@example.org `" + strings.Join(creds, " ") + "` @example.net a@example.org"} {
		s := new(Static)
		if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser("static {\n user " + words + "\n}")); err != nil {
			t.Fatal(err)
		}
		if err := s.Provision(msatest.Context(t)); err != nil {
			t.Fatalf("%s: %v", words, err)
		}
		id, err := s.VerifyPassword(t.Context(), caddymsa.Peer{}, "Alice@example.org", "secret")
		if err != nil || id.User != "alice@example.org" || len(id.Addresses) != 2 {
			t.Errorf("%s: %+v, %v", words, id, err)
		}
		if _, _, err := s.SCRAMCredential(t.Context(), caddymsa.Peer{}, "alice@example.org"); err != nil {
			t.Errorf("%s: %v", words, err)
		}
	}
	for want, words := range map[string]string{"for users files": "alice:" + creds[0] + "::::::nologin", "app_password is for": "alice:" + creds[0] + "::::::app_password=phone;" + creds[1], "field 3": "alice:" + creds[0] + ":addresses=a@example.org", "a name and a hash": "alice"} {
		if err := new(Static).UnmarshalCaddyfile(caddyfile.NewTestDispenser("static {\n user " + words + "\n}")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", words, err)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	s := new(Static)
	d := caddyfile.NewTestDispenser("static {\n user alice@example.org {ARGON2ID}x a@example.org @example.net\n}")
	if err := s.UnmarshalCaddyfile(d); err != nil || len(s.Users) != 1 || len(s.Users[0].Addresses) != 2 {
		t.Error(s.Users, err)
	}
	for _, text := range []string{"static x", "static {\n user alice\n}", "static {\n users alice x\n}"} {
		if err := new(Static).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
