package integration

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// The operator makes one by command, sees when it was last used, and revokes it, while the server runs.
func TestAppPasswordCommand(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.write("users.passwd", "# staff\nalice@example.org:{PLAIN}secret\n")
	s.write("Caddyfile", s.caddyfile(layout{auth: "auth {\n\t\tmechanisms PLAIN SCRAM-SHA-256\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}", msa: "\n\tdeliver discard"}))
	s.run()
	command := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(binary, append(append([]string{"msa", "user"}, args...), "--address", s.admin)...)
		out, err := cmd.Output() // without what is for people alone
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	secret := strings.TrimSpace(command("app-password", "add", "Alice@example.org", "phone", "--expires", "2999-01-01"))
	c := s.open(t, "alice@example.org", secret)
	if _, err := c.submit("alice@example.org", "bob@example.net", letter("app")); err != nil {
		t.Fatal(err)
	}
	s.await("when it was last used", func() bool {
		return regexp.MustCompile(`phone +2999-01-01T00:00:00Z +- +SCRAM-SHA-256 +20`).MatchString(command("show", "alice@example.org"))
	})
	command("rename", "alice@example.org", "alice.jones@example.org")
	s.await("when it was last used, under the new name", func() bool {
		return regexp.MustCompile(`phone +2999-01-01T00:00:00Z +- +SCRAM-SHA-256 +20`).MatchString(command("show", "alice.jones@example.org"))
	})
	if out, err := exec.Command(binary, "msa", "history", "--user", "alice.jones@example.org", "--address", "alice@example.org", "--json", "--admin", s.admin).CombinedOutput(); err != nil || !strings.Contains(string(out), `"renamed"`) {
		t.Errorf("%v: %s", err, out)
	}
	command("rename", "alice.jones@example.org", "alice@example.org")
	if out := command("list"); !regexp.MustCompile(`alice@example.org +enabled +PLAIN +phone +.*/file`).MatchString(out) {
		t.Error(out)
	}
	line := s.logged("a user was changed", `"app_password":"phone"`, `"action":"add-app-password"`)
	if strings.Contains(line, secret) {
		t.Error(line)
	}
	command("app-password", "revoke", "alice@example.org", "phone")
	if err := c.do("421", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error("revoked:", err)
	}
	own := s.open(t, "alice@example.org", "secret")
	command("disable", "alice@example.org")
	if err := own.do("421", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error("disabled:", err)
	}
	if status, body := s.adminRequest("POST", "/msa/user-actions/enable", `{"user": "nobody@example.org"}`); status != 404 {
		t.Error(status, body)
	}
	if status, body := s.adminRequest("GET", "/msa/user-actions/enable", ""); status != 405 {
		t.Error(status, body)
	}
	if status, body := s.adminRequest("GET", "/msa/users/alice%40example.org?server=nowhere", ""); status != 404 || !strings.Contains(body, "there is no server") {
		t.Error(status, body)
	}
	command("enable", "alice@example.org")
	if code := s.authAs("alice@example.org", "secret"); code != "235" {
		t.Error(code)
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, "users.passwd")); err != nil || string(text) != "# staff\nalice@example.org:{PLAIN}secret\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// open is a session of a user.
func (s *server) open(t *testing.T, user, secret string) *talker {
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

// Each mechanism lets a device in with its own password, from a file and from a database, and the log says which it was.
func TestAppPasswordMechanisms(t *testing.T) {
	t.Parallel()
	const auth = "auth {\n\t\tmechanisms SCRAM-SHA-256 DIGEST-MD5 PLAIN LOGIN\n\t\t%s\n\t\tthrottle off\n\t}"
	for backend, setting := range map[string]string{
		"file": "file $DIR/users.passwd",
		"sql":  "sql sqlite \"file:$DIR/users.db?mode=rw\" {\n\t\t\tapp_passwords\n\t\t}",
	} {
		t.Run(backend, func(t *testing.T) {
			s := newServer(t)
			s.write("users.passwd", "alice@example.org:{PLAIN}secret\n")
			db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "users.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			for _, statement := range []string{
				"CREATE TABLE msa_users (username TEXT NOT NULL PRIMARY KEY, password TEXT NOT NULL, addresses TEXT NOT NULL DEFAULT '', allow_nets TEXT NOT NULL DEFAULT '', disabled BOOLEAN NOT NULL DEFAULT FALSE)",
				"CREATE TABLE msa_app_passwords (username VARCHAR(255) NOT NULL, label VARCHAR(63) NOT NULL, password VARCHAR(1000) NOT NULL, expires VARCHAR(32), allow_nets VARCHAR(1000), PRIMARY KEY (username, label))",
				"INSERT INTO msa_users (username, password) VALUES ('alice@example.org', '{PLAIN}secret')",
			} {
				if _, err := db.Exec(statement); err != nil {
					t.Fatal(err)
				}
			}
			s.write("Caddyfile", s.caddyfile(layout{auth: fmt.Sprintf(auth, setting), msa: "\n\tdeliver discard"}))
			s.run()
			add := exec.Command(binary, "msa", "user", "app-password", "add", "alice@example.org", "phone", "--scheme", "SCRAM-SHA-256,DIGEST-MD5", "--realm", hostname, "--address", s.admin)
			out, err := add.Output()
			if err != nil {
				t.Fatal(err)
			}
			secret := strings.TrimSpace(string(out))
			scram, err := sasl.NewSCRAMClient("alice@example.org+phone", secret)
			if err != nil {
				t.Fatal(err)
			}
			for name, client := range map[string]gosasl.Client{
				"PLAIN": gosasl.NewPlainClient("", "alice@example.org", secret), "PLAIN with the label": gosasl.NewPlainClient("", "alice@example.org+phone", secret),
				"LOGIN": sasl.NewLoginClient("alice@example.org", secret), "SCRAM-SHA-256": scram,
				"DIGEST-MD5": sasl.NewDigestMD5Client("alice@example.org", secret, "", hostname),
			} {
				c, err := connect("tcp", s.implicit, s.tlsConfig())
				if err == nil {
					defer c.close()
					err = all(func() error { return c.do("250", "EHLO client.example.org") }, func() error { return c.auth(client, func() {}) })
				}
				id := ""
				if err == nil {
					id, err = c.submit("alice@example.org", "bob@example.net", letter("app"))
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				s.logged("message accepted", `"app_password":"phone"`, `"user":"alice@example.org"`, id)
			}
		})
	}
}

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
	one, two := s.open(t, "alice@example.org", "phone-secret"), s.open(t, "alice@example.org+tablet", "tablet-secret")
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
