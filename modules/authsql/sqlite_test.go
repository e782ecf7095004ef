package authsql

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

const sqliteTable = `CREATE TABLE msa_users (
	username   TEXT NOT NULL PRIMARY KEY,
	password   TEXT NOT NULL,
	addresses  TEXT NOT NULL DEFAULT '',
	allow_nets TEXT NOT NULL DEFAULT '',
	disabled   BOOLEAN NOT NULL DEFAULT FALSE
)`

// file makes a database and returns its path, with a connection to write.
func file(t testing.TB, statements ...string) (string, *sql.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users ?#%.db") // a name that a URI has to escape
	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	execute(t, db, statements...)
	return path, db
}

func TestSQLite(t *testing.T) {
	path, db := file(t, sqliteTable)
	conform(t, db, must(t, &SQL{Driver: "sqlite", DSN: path, Cache: conf.Duration(time.Hour)}))
}

func TestSQLiteWAL(t *testing.T) {
	path, db := file(t, "PRAGMA journal_mode = WAL", sqliteTable)
	conform(t, db, must(t, &SQL{Driver: "sqlite", DSN: path}))
}

// A database whose last writer has gone leaves no log behind; it can be read all the same.
func TestSQLiteWALAtRest(t *testing.T) {
	path, db := file(t, "PRAGMA journal_mode = WAL", sqliteTable, "INSERT INTO msa_users (username, password) VALUES ('alice@example.org', '{PLAIN}s3cret')")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := must(t, &SQL{Driver: "sqlite", DSN: path, Decoy: []string{}})
	if _, err := s.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret"); err != nil {
		t.Error(err)
	}
}

// Nothing is written, whatever the query says, and no database is made.
func TestSQLiteReadOnly(t *testing.T) {
	path, db := file(t, sqliteTable, "INSERT INTO msa_users (username, password) VALUES ('alice@example.org', '{PLAIN}s3cret')")
	_, err := provision(t, &SQL{Driver: "sqlite", DSN: path, Query: "DELETE FROM msa_users WHERE username = {user} OR 1=1 RETURNING username, password"})
	if err == nil || !strings.Contains(err.Error(), "readonly") {
		t.Error("a query that writes:", err)
	}
	var n int
	if err := db.QueryRow("SELECT count(*) FROM msa_users").Scan(&n); err != nil || n != 1 {
		t.Error(n, err)
	}
	missing := filepath.Join(t.TempDir(), "users.db")
	if _, err := provision(t, &SQL{Driver: "sqlite", DSN: missing}); err == nil {
		t.Error("no file, no error")
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a database was made")
	}
}

// A writer that does not let go is the only way in which SQLite can hang.
func TestSQLiteLocked(t *testing.T) {
	path, db := file(t, sqliteTable)
	insert(t, db, "sqlite", "alice@example.org", "{PLAIN}s3cret", "", "", false)
	s := must(t, &SQL{Driver: "sqlite", DSN: path, Timeout: conf.Duration(200 * time.Millisecond)})
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(context.Background(), "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	cannotTell(t, s, 30*time.Second)
	// A configuration loads while it is so.
	must(t, &SQL{Driver: "sqlite", DSN: path, Timeout: conf.Duration(201 * time.Millisecond)})
	if _, err := conn.ExecContext(context.Background(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	recovers(t, s)
}

// Several rows are one user: addresses in a table of their own, several passwords. Columns that
// are not known are attributes.
func TestColumns(t *testing.T) {
	ha1 := strings.TrimPrefix(generate(t, "DIGEST-MD5.realm=R", "alice@example.org", "s3cret"), "{DIGEST-MD5.realm=R}")
	key := strings.TrimPrefix(generate(t, "SCRAM-SHA-256", "alice@example.org", "s3cret"), "{SCRAM-SHA-256}")
	path, _ := file(t, "CREATE TABLE u (local TEXT COLLATE NOCASE, domain TEXT, ha1 BLOB, realm TEXT, key TEXT, dept TEXT, until INTEGER)",
		"CREATE TABLE a (local TEXT, address TEXT, net TEXT)",
		"INSERT INTO u VALUES ('alice', 'example.org', '"+ha1+"', 'R', '"+key+"', 'sales', NULL)",
		"INSERT INTO u VALUES ('alice', 'example.org', x'"+ha1+"', 'R', '"+key+"', NULL, 0)",
		"INSERT INTO u VALUES ('bob', 'example.org', '"+ha1+"', NULL, '', 'sales', 1795457660)",
		"INSERT INTO a VALUES ('alice', 'a@example.net', '127.0.0.1'), ('alice', 'b@example.net, @example.com', 'local'), ('alice', NULL, NULL)")
	s := must(t, &SQL{Driver: "sqlite", DSN: "file:" + (&url.URL{Path: path}).EscapedPath() + "?immutable=1", Query: `
		SELECT local || '@' || domain AS Username, ha1 AS digest_ha1, realm, key AS scram, dept, 7 AS level, until AS disabled, address AS addresses, net AS allow_nets
		FROM u LEFT JOIN a USING (local) WHERE local = {local} AND domain = {domain}`})
	ctx := context.Background()
	id, err := s.VerifyPassword(ctx, peer, "alice@example.org", "s3cret")
	if err != nil || len(id.Addresses) != 3 || !maps.Equal(id.Attributes, map[string]string{"dept": "sales", "level": "7"}) {
		t.Errorf("%+v, %v", id, err)
	}
	if c, err := s.DigestCredentials(ctx, peer, "alice@example.org", "R"); err != nil || len(c) != 2 || *c[0].HA1 != sasl.DigestHA1("alice@example.org", "R", "s3cret") || *c[1].HA1 != *c[0].HA1 {
		t.Error(c, err)
	}
	if _, _, err := s.SCRAMCredential(ctx, peer, "alice@example.org"); err != nil {
		t.Error(err)
	}
	if id, err := s.VerifyPassword(ctx, peer, "Alice@Example.org", "s3cret"); err != nil || id.User != "alice@example.org" {
		t.Errorf("in another spelling: %+v, %v", id, err)
	}
	unknown(t, s, "bob@example.org", "s3cret")
}

// Names are one in any spelling, however they are stored and whatever the query compares; the identity has
// the spelling of the database, and limits by user cannot be dodged.
func TestCase(t *testing.T) {
	path, db := file(t, sqliteTable)
	insert(t, db, "sqlite", "lower@example.org", "{PLAIN}s3cret", "", "", false)
	insert(t, db, "sqlite", "Mixed@example.org", "{PLAIN}s3cret", "", "", false)
	insert(t, db, "sqlite", "twin@example.org", "{PLAIN}one", "", "", false)
	insert(t, db, "sqlite", "Twin@example.org", "{PLAIN}two", "", "", false)
	exactly := "SELECT username, password FROM msa_users WHERE username = {user}"
	for _, s := range []*SQL{{}, {Query: exactly}, {Cache: conf.Duration(time.Hour)}} {
		s.Driver, s.DSN = "sqlite", path
		must(t, s)
		for name, want := range map[string]string{"lower@example.org": "lower@example.org", "Lower@example.org": "lower@example.org", "LOWER@EXAMPLE.ORG": "lower@example.org", "Mixed@example.org": "Mixed@example.org", "mixed@example.org": "Mixed@example.org"} {
			if s.Query != "" && name == "mixed@example.org" {
				continue // the query does not find it
			}
			for range 2 {
				if id, err := s.VerifyPassword(t.Context(), peer, name, "s3cret"); err != nil || id.User != want {
					t.Errorf("%s by %q: %+v, %v", name, s.Query, id, err)
				}
			}
		}
		if id, err := s.VerifyPassword(t.Context(), peer, "Twin@example.org", "two"); err != nil || id.User != "Twin@example.org" {
			t.Errorf("%+v, %v", id, err)
		}
		if _, err := s.VerifyPassword(t.Context(), peer, "TWIN@example.org", "two"); s.Query == "" && (err == nil || errors.Is(err, caddymsa.ErrCredentials) || !strings.Contains(err.Error(), "case exact")) {
			t.Error(err)
		}
		for user, want := range map[string]string{"lower@example.org": "wrong", "nobody@example.org": "unknown"} {
			if _, err := s.VerifyPassword(t.Context(), peer, user, "guess"); caddymsa.Reason(err) != want {
				t.Error(user, err)
			}
		}
	}
	s := must(t, &SQL{Driver: "sqlite", DSN: path, Case: names.Exact})
	unknown(t, s, "Lower@example.org", "s3cret")
	if id, err := s.VerifyPassword(t.Context(), peer, "twin@example.org", "one"); err != nil || id.Case != names.Exact {
		t.Error(id, err)
	}
}

// A page is short at the end alone. A name that nobody can log in with is listed, with what is wrong with it.
func TestListFull(t *testing.T) {
	path, db := file(t, sqliteTable)
	for _, name := range []string{"a@example.org", "b\x01@example.org", "c\x01@example.org", "d@example.org", "e@example.org"} {
		insert(t, db, "sqlite", name, "{PLAIN}s3cret", "", "", false)
	}
	s := must(t, &SQL{Driver: "sqlite", DSN: path})
	for limit, want := range []string{"", "a", "ab", "abc", "abcd", "abcde", "abcde"} {
		if limit == 0 {
			continue
		}
		all, err := s.Users(t.Context(), "", limit)
		got := ""
		for _, u := range all {
			got += u.Name[:1]
			if (u.Problem != "") != strings.Contains(u.Name, "\x01") {
				t.Errorf("%q: %q", u.Name, u.Problem)
			}
		}
		if err != nil || got != want {
			t.Errorf("%d: %s, %v; want %s", limit, got, err, want)
		}
	}
	// A statement of one's own may pay no heed to where the list goes on: nobody is there twice.
	own := must(t, &SQL{Driver: "sqlite", DSN: path, Statements: map[string][]string{"list": {"SELECT username FROM msa_users ORDER BY username"}}})
	if all, err := own.Users(t.Context(), "", 9); err != nil || len(all) != 5 {
		t.Errorf("%+v, %v", all, err)
	}
}

// A scheme that is of no use here keeps its user out, and is not a failure of the database.
func TestUnsupportedScheme(t *testing.T) {
	path, db := file(t, sqliteTable)
	insert(t, db, "sqlite", "old@example.org", "{CRAM-MD5}00", "", "", false)
	s := must(t, &SQL{Driver: "sqlite", DSN: path})
	if _, err := s.VerifyPassword(t.Context(), peer, "old@example.org", "x"); !errors.Is(err, caddymsa.ErrDisabled) || !strings.Contains(err.Error(), "CRAM-MD5") {
		t.Error(err)
	}
}

// The log has one line an hour of a user whose stored password is of no use, however often somebody asks.
func TestComplainsSometimes(t *testing.T) {
	path, db := file(t, sqliteTable)
	insert(t, db, "sqlite", "old@example.org", "{CRAM-MD5}00", "", "", false)
	insert(t, db, "sqlite", "both@example.org", "{CRAM-MD5}00 {PLAIN}s3cret", "", "", false)
	s := must(t, &SQL{Driver: "sqlite", DSN: path})
	core, logs := zapobserver.New(zap.ErrorLevel)
	now := time.Unix(1e9, 0)
	s.log, s.complaints.Now = zap.New(core), func() time.Time { return now }
	ask := func() {
		for range 10 {
			_, _ = s.VerifyPassword(t.Context(), peer, "OLD@example.org", "x")
			_, _ = s.Lookup(t.Context(), peer, "both@example.org")
		}
	}
	for _, want := range []int{2, 2, 4} {
		ask()
		if logs.Len() != want {
			t.Errorf("%d lines, not %d: %v", logs.Len(), want, logs.All())
		}
		now = now.Add(31 * time.Minute)
	}
}

// An application password without a scheme is CRYPT, as a password is; one that is neither shows in no error.
func TestAppPasswordWithoutScheme(t *testing.T) {
	hash := strings.TrimPrefix(generate(t, "SHA512-CRYPT", "alice", "ph0ne"), "{SHA512-CRYPT}")
	path, _ := file(t, "CREATE TABLE p (username TEXT, label TEXT, password TEXT)", "INSERT INTO p VALUES ('alice', 'phone', '"+hash+"'), ('bob', 'phone', 'cl3ar')")
	s := must(t, &SQL{Driver: "sqlite", DSN: path, AppPasswords: AppPasswordsToo, Query: "SELECT username, label AS app_label, password AS app_password FROM p WHERE username = {user}"})
	if id, err := s.VerifyPassword(t.Context(), peer, "alice", "ph0ne"); err != nil || id.AppPassword != "phone" {
		t.Errorf("%+v, %v", id, err)
	}
	if _, err := s.VerifyPassword(t.Context(), peer, "bob", "cl3ar"); err == nil || errors.Is(err, caddymsa.ErrCredentials) || strings.Contains(err.Error(), "cl3ar") {
		t.Error(err)
	}
}

// Revocation of one who is remembered as right is at once.
func TestCache(t *testing.T) {
	path, db := file(t, sqliteTable)
	insert(t, db, "sqlite", "alice@example.org", generate(t, "SHA512-CRYPT", "a", "s3cret"), "", "", false)
	s := must(t, &SQL{Driver: "sqlite", DSN: path, Cache: conf.Duration(time.Hour)})
	ctx := context.Background()
	for range 2 {
		if _, err := s.VerifyPassword(ctx, peer, "alice@example.org", "s3cret"); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range []string{"UPDATE msa_users SET allow_nets = '192.0.2.1'", "UPDATE msa_users SET allow_nets = '', disabled = 1", "UPDATE msa_users SET disabled = 0, password = '{PLAIN}other'", "DELETE FROM msa_users"} {
		execute(t, db, statement)
		if _, err := s.VerifyPassword(ctx, peer, "alice@example.org", "s3cret"); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("after %s: %v", statement, err)
		}
	}
}

// A name that nobody can log in with, such as one with a space after it, is listed as unusable: who lists page by page sees all behind it.
func TestListsUnusableNames(t *testing.T) {
	path, _ := file(t, sqliteTable, "INSERT INTO msa_users (username, password) VALUES ('alice', '{PLAIN}s3cret'), ('bob ', '{PLAIN}s3cret'), ('carol', '{PLAIN}s3cret')")
	s := must(t, &SQL{Driver: "sqlite", DSN: path})
	page, err := s.Users(context.Background(), "", 2)
	if err != nil || len(page) != 2 || page[0].Name != "alice" || page[1].Name != "bob " || !strings.Contains(page[1].Problem, "white space") {
		t.Errorf("%+v, %v", page, err)
	}
	page, err = s.Users(context.Background(), "bob ", 2)
	if err != nil || len(page) != 1 || page[0].Name != "carol" {
		t.Errorf("%+v, %v", page, err)
	}
}

// A page is full, however few names the operator's statement gives at a time.
func TestListsWholePages(t *testing.T) {
	path, _ := file(t, sqliteTable, "INSERT INTO msa_users (username, password) VALUES ('alice', ''), ('bob', ''), ('carol', ''), ('dan', '')")
	for _, statement := range []string{"SELECT username FROM msa_users WHERE username > {after} ORDER BY username LIMIT 1", "SELECT username FROM msa_users ORDER BY username"} {
		s := must(t, &SQL{Driver: "sqlite", DSN: path, Statements: map[string][]string{"list": {statement}}})
		for limit, want := range map[int]int{3: 3, 10: 4} {
			if page, err := s.Users(context.Background(), "", limit); len(page) != want || err != nil {
				t.Errorf("%s: %d of %d, %v", statement, len(page), limit, err)
			}
		}
	}
}

// A page of many users reads no more than a page.
func TestListReadsPage(t *testing.T) {
	path, _ := file(t, sqliteTable, "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO msa_users (username, password) SELECT 'user' || i, '' FROM n")
	s := must(t, &SQL{Driver: "sqlite", DSN: path})
	for after, seen := "", 0; ; {
		page, err := s.names(context.Background(), after, 2000)
		if err != nil || len(page) > 1000 {
			t.Fatal(len(page), err)
		}
		if len(page) == 0 {
			if seen != 2000 {
				t.Error(seen)
			}
			break
		}
		seen, after = seen+len(page), page[len(page)-1]
	}
}
