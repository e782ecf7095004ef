package integration

import (
	"context"
	"database/sql"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

// Users of a database through the whole server: made by the command, known at once, gone at once
// for sessions that are open; a database that cannot answer is not a refusal.
func TestSQLUsers(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.write("Caddyfile", s.caddyfile(layout{auth: "auth {\n sql sqlite $DIR/users.db {\n timeout 10s\n}\n}"}))
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "users.db")+"?_pragma=busy_timeout(60000)") // the server may be reading
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	execute := func(statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	execute(`CREATE TABLE msa_users (username TEXT NOT NULL PRIMARY KEY, password TEXT NOT NULL, addresses TEXT NOT NULL DEFAULT '',
		allow_nets TEXT NOT NULL DEFAULT '', disabled BOOLEAN NOT NULL DEFAULT FALSE)`)
	s.run()
	trust := s.tlsConfig()

	if code := s.authAs("alice@example.org", "secret"); code != "535" {
		t.Error("before there is a user:", code)
	}
	command := func(name, password string, args ...string) {
		t.Helper()
		cmd := exec.Command(binary, append([]string{"msa", "user", name, "--sql", "sqlite", "--password-stdin"}, args...)...)
		cmd.Stdin = strings.NewReader(password + "\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		execute(string(out))
	}
	command("alice@example.org", "secret")
	command("scanner", "secret", "--scheme", "DIGEST-MD5,SHA512-CRYPT", "--realm", hostname, "--addresses", "scanner@example.org,@devices.example.org")
	s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.org", letter("from alice"))
	s.mustSend(trust, "scanner", "hall@devices.example.org", "bob@example.org", strings.Replace(letter("from scanner"), "alice@example.org", "hall@devices.example.org", 1))
	s.mail("bob@example.org", 2)

	open := func() *talker {
		t.Helper()
		c, err := s.as(trust, "alice@example.org")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.close)
		return c
	}
	stays, goes := open(), open()

	// A writer that does not let go.
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(context.Background(), "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	s.undecided("while the database is locked", "alice@example.org", "nobody@example.org")
	if err := stays.do("451", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error(err)
	}
	if _, err := conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if _, err := stays.submit("alice@example.org", "bob@example.org", letter("afterwards")); err != nil {
		t.Error(err)
	}

	execute("UPDATE msa_users SET disabled = 1 WHERE username = 'alice@example.org'")
	if err := goes.do("421", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error("a disabled user:", err)
	}
	if code := s.authAs("alice@example.org", "secret"); code != "535" {
		t.Error("a disabled user:", code)
	}
	s.logged("could not be decided", "sqlite: ") // and the cause: that it is locked or, on a busy machine, that there was no answer in time
}
