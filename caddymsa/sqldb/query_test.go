package sqldb

import (
	"database/sql"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var userNames = []string{"user", "local", "domain"}

var quoted = regexp.MustCompile(`\{(user|local|domain)\}`)

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
		{"mysql", "SELECT a WHERE u = ? AND {user}", "", "is not a parameter here"},
		{"sqlite", "SELECT a WHERE u = ?1", "", "is not a parameter here"},
		{"postgres", "SELECT a WHERE u = $1", "", "is not a parameter here"},
		{"postgres", "SELECT a WHERE u = {username}", "", "{username} is not known"},
	} {
		q, err := parseQuery(drivers[c.driver], c.query, userNames)
		switch {
		case c.text == "" && (err == nil || !strings.Contains(err.Error(), c.args)):
			t.Errorf("%s: %v, want %s", c.query, err, c.args)
		case c.text != "" && (err != nil || q.text != c.text || strings.Join(q.args, " ") != c.args):
			t.Errorf("%s: %q %q, %v", c.query, q.text, q.args, err)
		}
	}
}

// What the text of a query becomes is the query again but for its parameters.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"SELECT a FROM b WHERE c = {user}", "{user}'{user}'", "'a''{user}\\'", `"{local}`, "`{domain}`", "-- {user}\n{user}", "/*{user}*/{local}", "$1 ?2 ? {x}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range drivers {
			q, err := parseQuery(d, text, userNames)
			if err == nil && (len(q.values(func(s string) string { return s })) != len(q.args) || quoted.MatchString(strip(q.text))) {
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

// SQLite's own error names neither the file nor what is wrong with it.
func TestSQLiteNoFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users.db")
	db, err := Open(Options{Driver: "sqlite", DSN: path, Timeout: time.Minute, Connections: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	query, err := db.Parse("SELECT 1 WHERE 'x' = {user}", "user", "local")
	if err != nil {
		t.Fatal(err)
	}
	err = db.Ask(t.Context(), query, func(string) string { return "x" }, func(*sql.Rows) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "open "+path+": no such file or directory") || !db.Mistake(err) {
		t.Error(err)
	}
}
