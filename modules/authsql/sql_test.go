package authsql

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

func TestQuery(t *testing.T) {
	for _, c := range []struct {
		driver, query, text string
		args                string
	}{
		{"postgres", "SELECT a WHERE u = {user} OR u = {local}||{user}", "SELECT a WHERE u = $1 OR u = $2||$1", "user local"},
		{"sqlite", "SELECT a WHERE u = {user} OR u = {local}||{user}", "SELECT a WHERE u = ?1 OR u = ?2||?1", "user local"},
		{"mysql", "SELECT a WHERE u = {user} OR u = {local} OR {user}", "SELECT a WHERE u = ? OR u = ? OR ?", "user local user"},
		{"postgres", "SELECT x::text, j ? 'k', '?', '{a}', \"{b}\" WHERE l = {local} AND d = {domain}", "SELECT x::text, j ? 'k', '?', '{a}', \"{b}\" WHERE l = $1 AND d = $2", "local domain"},
		{"mysql", "SELECT 'it\\'s', `{b}`, '?' -- ? {who}\n, /* ? {x} */ 1 WHERE u = {user}", "SELECT 'it\\'s', `{b}`, '?' -- ? {who}\n, /* ? {x} */ 1 WHERE u = ?", "user"},
		{"postgres", `SELECT 'a''b', '\', {user}`, `SELECT 'a''b', '\', $1`, "user"},
		{"mysql", "SELECT a WHERE u = '{user}'", "", "within quotes"},
		{"postgres", "SELECT a WHERE u LIKE '%{local}%' AND u = {user}", "", "within quotes"},
		{"mysql", "SELECT a WHERE u = ? AND {user}", "", "parameter of nothing"},
		{"sqlite", "SELECT a WHERE u = ?1", "", "parameter of nothing"},
		{"postgres", "SELECT a WHERE u = $1", "", "parameter of nothing"},
		{"postgres", "SELECT a WHERE u = {username}", "", "{username} is not known"},
		{"postgres", "SELECT a WHERE d = {domain}", "", "does not ask for the user"},
		{"postgres", "SELECT a", "", "does not ask for the user"},
		{"postgres", "SELECT a WHERE '", "", "does not ask for the user"},
	} {
		q, err := parseQuery(drivers[c.driver], c.query)
		switch {
		case c.text == "" && (err == nil || !strings.Contains(err.Error(), c.args)):
			t.Errorf("%s: %v, want %s", c.query, err, c.args)
		case c.text != "" && (err != nil || q.text != c.text || strings.Join(q.args, " ") != c.args):
			t.Errorf("%s: %q %q, %v", c.query, q.text, q.args, err)
		}
	}
}

func TestValues(t *testing.T) {
	q := query{args: []string{"user", "local", "domain", "user"}}
	for name, want := range map[string][]any{
		"alice@example.org": {"alice@example.org", "alice", "example.org", "alice@example.org"},
		"alice":             {"alice", "alice", "", "alice"},
		"a@b@c":             {"a@b@c", "a@b", "c", "a@b@c"},
	} {
		if got := q.values(name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// What the text of a query becomes is the query again but for its parameters.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{DefaultQuery, "{user}'{user}'", "'a''{user}\\'", `"{local}`, "`{domain}`", "-- {user}\n{user}", "/*{user}*/{local}", "$1 ?2 ? {x}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range drivers {
			q, err := parseQuery(d, text)
			if err == nil && (len(q.args) == 0 || len(q.values("a@b")) != len(q.args) || quotedName.MatchString(strip(q.text))) {
				t.Errorf("%s: %q became %q %q", d.name, text, q.text, q.args)
			}
		}
	})
}

// strip takes comments out, where names may stand.
func strip(s string) string {
	return tokens[false].ReplaceAllStringFunc(s, func(token string) string {
		if token[0] == '-' || token[0] == '/' {
			return ""
		}
		return token
	})
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
		max_connections 3
		cache 5m
		decoy SHA512-CRYPT SCRAM-SHA-256
	}`))
	want := &SQL{Driver: "postgres", DSN: "host=db user=msa", Password: "{env.DB_PASSWORD}", Query: "SELECT 1 WHERE u = {user}", Timeout: second(2), MaxConnections: 3,
		Cache: second(300), Decoy: []string{"SHA512-CRYPT", "SCRAM-SHA-256"}}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, text := range []string{"sql", "sql sqlite", "sql sqlite a b", "sql oracle a", "sql sqlite a {\n query\n}", "sql sqlite a {\n query SELECT 1\n}",
		"sql sqlite a {\n timeout soon\n}", "sql sqlite a {\n max_connections 0\n}", "sql sqlite a {\n cache\n}", "sql sqlite a {\n tries 1\n}"} {
		if err := new(SQL).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// A reload keeps the connections and what is known of users, while the settings stay the same; one
// that fails takes nothing from the configuration that is in use.
func TestShared(t *testing.T) {
	path, db := file(t, sqliteTable)
	insert(t, db, sqlite, "alice@example.org", "{PLAIN}s3cret", "", "", false)
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

// Whatever a driver says, the password to connect with is not in it.
func TestRedacted(t *testing.T) {
	s := &source{driver: postgres, password: "geheim"}
	cause := &pgconn.PgError{Code: "28P01", Message: "no such user msa:geheim@db"}
	err := s.failed(context.Background(), cause)
	if strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "REDACTED") || !s.mistaken(err) {
		t.Error(err)
	}
}

func TestLiteralPassword(t *testing.T) {
	for _, c := range []struct {
		dsn, setting, inUse string
		want                bool
	}{
		{"postgres://msa:p%40ss@db/mail", "", "p@ss", true}, {"msa:p@ss@tcp(db)/mail", "", "p@ss", true}, {"msa@tcp(db)/mail", "p@ss", "p@ss", true},
		{"postgres://msa@db/mail", "{env.PW}", "p@ss", false}, {"postgres://msa:{env.PW}@db/mail", "", "p@ss", false}, {"postgres://msa@db/mail", "", "from .pgpass", false}, {"users.db", "", "", false},
	} {
		if got := (&SQL{DSN: c.dsn, Password: c.setting}).literal(c.inUse); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
