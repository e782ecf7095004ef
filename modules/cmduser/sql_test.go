package cmduser

import (
	"database/sql"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

func TestSQL(t *testing.T) {
	for _, c := range []struct {
		dialect string
		u       user
		want    string
	}{
		{"postgres", user{name: "o'hara", credentials: []string{"{PLAIN}a'b", "{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk="}},
			"INSERT INTO msa_users (username, password) VALUES ('o''hara', '{PLAIN}a''b {SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=') ON CONFLICT (username) DO UPDATE SET password = excluded.password;"},
		{"postgres", user{name: `a\'b`, credentials: []string{"{PLAIN}x"}, setAddresses: true},
			`INSERT INTO msa_users (username, password, addresses) VALUES (E'a\\''b', '{PLAIN}x', '') ON CONFLICT (username) DO UPDATE SET password = excluded.password, addresses = excluded.addresses;`},
		{"mysql", user{name: "a'b", credentials: []string{`{PLAIN}\'`}, setAddresses: true, addresses: []string{"a@example.org", "*@example.net"}},
			"INSERT INTO msa_users (username, password, addresses) VALUES ('a''b', _utf8mb4 X'7b504c41494e7d5c27', 'a@example.org,*@example.net') ON DUPLICATE KEY UPDATE password = VALUES(password), addresses = VALUES(addresses);"},
		{"sqlite", user{name: `a\'b`, credentials: []string{"{PLAIN}x"}},
			`INSERT INTO msa_users (username, password) VALUES ('a\''b', '{PLAIN}x') ON CONFLICT (username) DO UPDATE SET password = excluded.password;`},
	} {
		if got, err := c.u.sql(c.dialect); err != nil || got != c.want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, c.want)
		}
	}
	for _, u := range []user{{name: "a\x00b", credentials: []string{"{PLAIN}x"}}, {name: "a", credentials: []string{"{ROT13}x"}}, {name: "a", credentials: []string{"{PLAIN}x {PLAIN}y"}},
		{name: "a", credentials: []string{"{PLAIN}x"}, addresses: []string{"no address"}}} {
		if got, err := u.sql("sqlite"); err == nil {
			t.Errorf("%+v: %s", u, got)
		}
	}
}

// The command's statement, run twice, in the table of docs/auth-sql.md.
func TestSQLCommand(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+t.TempDir()+"/users.db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE msa_users (username TEXT NOT NULL PRIMARY KEY, password TEXT NOT NULL, addresses TEXT NOT NULL DEFAULT '', disabled BOOLEAN NOT NULL DEFAULT FALSE)"); err != nil {
		t.Fatal(err)
	}
	const name = `o'ha\ra"; DROP TABLE msa_users; --`
	for _, args := range [][]string{{"--addresses", "a@example.org,@example.net"}, {}} {
		out, err := run(t, "s3'cret\n", append(args, name, "--sql", "sqlite", "--scheme", "SHA512-CRYPT,PLAIN")...)
		if err != nil {
			t.Fatal(out, err)
		}
		if _, err := db.Exec(out); err != nil {
			t.Fatal(out, err)
		}
	}
	var password, addresses string
	if err := db.QueryRow("SELECT password, addresses FROM msa_users WHERE username = ?", name).Scan(&password, &addresses); err != nil || addresses != "a@example.org,@example.net" {
		t.Fatal(addresses, err)
	}
	u, err := passwd.NewUser(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.AddPassword(password); err != nil || len(u.Credentials) != 2 {
		t.Fatal(err)
	}
	if ok, err := u.Verify("s3'cret"); !ok || err != nil {
		t.Error(ok, err)
	}
	for want, args := range map[string][]string{"postgres, mysql or sqlite": {"--sql", "oracle"}, "--file": {"--sql", "sqlite", "--file", "users.passwd"}} {
		if out, err := run(t, "secret\n", append(args, "alice")...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %s, %v", args, out, err)
		}
	}
}
