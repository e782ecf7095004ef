package authsql

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sqldb"
)

func TestValues(t *testing.T) {
	for name, want := range map[string][3]string{
		"alice@example.org": {"alice@example.org", "alice", "example.org"},
		"alice":             {"alice", "alice", ""},
		"a@b@c":             {"a@b@c", "a@b", "c"},
	} {
		value := values(name)
		if got := [3]string{value("user"), value("local"), value("domain")}; got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A query that does not ask for the user would let everybody in as one.
func TestAsksForUser(t *testing.T) {
	db, err := sqldb.Open(sqldb.Options{Driver: "sqlite", DSN: "x.db"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, text := range []string{"SELECT a WHERE d = {domain}", "SELECT a", "SELECT a WHERE '"} {
		if _, err := parseQuery(db, text); err == nil || !strings.Contains(err.Error(), "does not ask for the user") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	path, _ := file(t, sqliteTable, "CREATE TABLE other (username TEXT, password TEXT)")
	for want, s := range map[string]*SQL{
		"driver":                   {Driver: "oracle", DSN: path},
		"dsn is required":          {Driver: "sqlite"},
		"dsn: ":                    {Driver: "sqlite", DSN: "{env.NO_SUCH_VARIABLE}"},
		"password: ":               {Driver: "sqlite", DSN: path, Password: "{file./nonexistent}"},
		"negative":                 {Driver: "sqlite", DSN: path, Timeout: -1},
		"does not ask":             {Driver: "sqlite", DSN: path, Query: "SELECT * FROM msa_users"},
		"no such table: users":     {Driver: "sqlite", DSN: path, Query: "SELECT * FROM users WHERE username = {user}"},
		"no such column: mail":     {Driver: "sqlite", DSN: path, Query: "SELECT * FROM msa_users WHERE mail = {user}"},
		"syntax":                   {Driver: "sqlite", DSN: path, Query: "SELCT * FROM msa_users WHERE username = {user}"},
		"no column username":       {Driver: "sqlite", DSN: path, Query: "SELECT password FROM msa_users WHERE username = {user}"},
		"no column password":       {Driver: "sqlite", DSN: path, Query: "SELECT username FROM msa_users WHERE username = {user}"},
		`two columns "username"`:   {Driver: "sqlite", DSN: path, Query: "SELECT * FROM msa_users JOIN other USING (password) WHERE msa_users.username = {user}"},
		"unable to open":           {Driver: "sqlite", DSN: path + ".missing"},
		"decoy":                    {Driver: "sqlite", DSN: path, Decoy: []string{"ROT13"}},
		"PostgreSQL cannot read":   {Driver: "postgres", DSN: "postgres://msa:geheim%zz@localhost/mail"},
		"simple_protocol":          {Driver: "postgres", DSN: "postgres://msa:geheim@localhost/mail?default_query_exec_mode=simple_protocol"},
		"MySQL's driver cannot re": {Driver: "mysql", DSN: "msa:geheim@localhost"},
	} {
		_, err := provision(t, s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Error("a password in an error:", err)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	s := new(SQL)
	err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(`sql postgres "host=db user=msa" {
		password {env.DB_PASSWORD}
		query "SELECT 1 WHERE u = {user}"
		timeout 2s
		concurrency 3
		cache 5m
		decoy SHA512-CRYPT SCRAM-SHA-256
	}`))
	want := &SQL{Driver: "postgres", DSN: "host=db user=msa", Password: "{env.DB_PASSWORD}", Query: "SELECT 1 WHERE u = {user}", Timeout: second(2), Concurrency: 3,
		Cache: second(300), Decoy: []string{"SHA512-CRYPT", "SCRAM-SHA-256"}}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, text := range []string{"sql", "sql sqlite", "sql sqlite a b", "sql oracle a", "sql sqlite a {\n query\n}", "sql sqlite a {\n query SELECT 1\n}",
		"sql sqlite a {\n timeout soon\n}", "sql sqlite a {\n concurrency 0\n}", "sql sqlite a {\n cache\n}", "sql sqlite a {\n tries 1\n}"} {
		if err := new(SQL).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// A reload keeps the connections and what is known of users, while the settings stay the same; one
// that fails takes nothing from the configuration that is in use.
func TestShared(t *testing.T) {
	path, db := file(t, sqliteTable)
	insert(t, db, "sqlite", "alice@example.org", "{PLAIN}s3cret", "", "", false)
	old := &SQL{Driver: "sqlite", DSN: path}
	if err := old.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	references := func(s *SQL) int {
		n, _ := sources.References(*s.key)
		return n
	}
	next := &SQL{Driver: "sqlite", DSN: path, Cache: second(1)}
	if err := next.Provision(msatest.Context(t)); err != nil || references(old) != 2 || *old.key != *next.key {
		t.Error(references(old), err)
	}
	broken := &SQL{Driver: "sqlite", DSN: path, Query: "SELECT nonsense WHERE {user}"}
	if err := broken.Provision(msatest.Context(t)); err == nil {
		t.Error("no error")
	}
	unresolved := &SQL{Driver: "sqlite"}
	_ = unresolved.Provision(msatest.Context(t))
	for _, s := range []*SQL{broken, unresolved, old, old} {
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	if _, err := next.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret"); err != nil {
		t.Error(err)
	}
	if err := next.Cleanup(); err != nil {
		t.Error(err)
	}
	if _, err := next.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret"); err == nil || errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("after the last one has gone:", err)
	}
}
