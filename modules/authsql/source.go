package authsql

import (
	"context"
	"errors"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sqldb"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// sources are shared by all configurations that ask the same: a reload makes no new
// connections, and forgets nothing of what real users cost.
var sources = caddy.NewUsagePool()

// options are resolved settings. Equal ones share connections, and what is known of the
// users, across reloads.
type options struct {
	sqldb.Options
	query, decoy string
}

// source is a database and what is asked of it.
type source struct {
	db    *sqldb.DB
	query sqldb.Query
	seen  *passwd.Seen
}

// newSource connects to nothing yet.
func newSource(o options) (*source, error) {
	db, err := sqldb.Open(o.Options)
	if err != nil {
		return nil, err
	}
	s := &source{db: db}
	if s.query, err = parseQuery(db, o.query); err != nil {
		return nil, err
	}
	decoy, err := passwd.NewDecoy(strings.Fields(o.decoy))
	if err != nil {
		return nil, err
	}
	s.seen = passwd.NewSeen(decoy)
	return s, nil
}

func parseQuery(db *sqldb.DB, text string) (sqldb.Query, error) {
	q, err := db.Parse(text, "user", "local", "domain")
	if err == nil && !q.Asks("user") && !q.Asks("local") {
		err = errors.New("query: it does not ask for the user; say WHERE username = {user}, or {local} and {domain}")
	}
	return q, err
}

// values are bound to the parameters of a query for a user name.
func values(name string) func(string) string {
	local, domain := name, ""
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		local, domain = name[:i], name[i+1:]
	}
	return func(parameter string) string {
		return map[string]string{"user": name, "local": local, "domain": domain}[parameter]
	}
}

// Destruct implements caddy.Destructor.
func (s *source) Destruct() error { return s.db.Close() }

// fetch asks for the name as it was given and, if c folds, in lower case too: queries may compare exactly,
// and names be stored in whatever spelling. Both are asked whether the first finds something or not, since
// that would show in the time.
func (s *source) fetch(ctx context.Context, c names.Case, name string) (*tableauth.Record, error) {
	f := newFound(c, name)
	spellings := []string{name}
	if folded := c.Key(name); folded != name {
		spellings = append(spellings, folded)
	}
	for _, spelling := range spellings {
		err := s.db.Ask(ctx, s.query, values(spelling), f.read)
		if err != nil && !s.db.Foreign(err) {
			return nil, err
		}
	}
	return f.user()
}
