package authsql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// sources are shared by all configurations that ask the same: a reload makes no new
// connections, and forgets nothing of what real users cost.
var sources = caddy.NewUsagePool()

// source is a database and what is asked of it.
type source struct {
	options
	driver   driver
	query    query
	db       *sql.DB
	password string // to connect with
	seen     *passwd.Seen
}

// newSource connects to nothing yet.
func newSource(o options) (*source, error) {
	s := &source{options: o, driver: drivers[o.driver]}
	var err error
	if s.query, err = parseQuery(s.driver, o.query); err != nil {
		return nil, err
	}
	decoy, err := makeDecoy(strings.Fields(o.decoy))
	if err != nil {
		return nil, err
	}
	s.seen = passwd.NewSeen(decoy)
	if s.db, s.password, err = s.driver.open(o); err != nil {
		return nil, err
	}
	s.db.SetMaxOpenConns(o.connections)
	s.db.SetMaxIdleConns(o.connections)
	s.db.SetConnMaxIdleTime(5 * time.Minute)
	s.db.SetConnMaxLifetime(s.driver.lifetime)
	return s, nil
}

// Destruct implements caddy.Destructor.
func (s *source) Destruct() error { return s.db.Close() }

// fetch is a tableauth.Fetch.
func (s *source) fetch(ctx context.Context, name string) (*tableauth.Record, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("no answer within %s", s.timeout))
	defer cancel()
	var f *found
	var err error
	// All connections may be those of a server that has been restarted.
	for try := 0; try <= s.connections; try++ {
		if f, err = s.ask(ctx, name); err == nil || ctx.Err() != nil || !s.driver.broken(err) {
			break
		}
	}
	if err != nil && s.driver.foreign(err) {
		return nil, nil
	}
	var rec *tableauth.Record
	if err == nil {
		rec, err = f.user(name)
	}
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return rec, nil
}

func (s *source) ask(ctx context.Context, name string) (*found, error) {
	rows, err := s.db.QueryContext(ctx, s.query.text, s.query.values(name)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return read(rows, name)
}

// failed says what happened without what nobody may read.
func (s *source) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	if s.password != "" && strings.Contains(err.Error(), s.password) {
		err = redacted{strings.ReplaceAll(err.Error(), s.password, "REDACTED"), err}
	}
	return fmt.Errorf("%s: %w", s.driver.name, err)
}

// redacted is an error in other words.
type redacted struct {
	text  string
	cause error
}

func (r redacted) Error() string { return r.text }
func (r redacted) Unwrap() error { return r.cause }

// makeDecoy makes a user of schemes, with the parameters of `caddy msa user`, or of credentials.
func makeDecoy(schemes []string) (*passwd.User, error) {
	const name = "decoy@example.org"
	u, err := passwd.NewUser(name)
	if err != nil {
		return nil, err
	}
	for _, scheme := range schemes {
		credential := scheme
		if !strings.HasPrefix(scheme, "{") {
			if credential, err = passwd.Generate(scheme, name, "decoy", passwd.Options{}); err != nil {
				return nil, fmt.Errorf("decoy: %s: %w", scheme, err)
			}
		}
		if err := u.AddPassword(credential); err != nil {
			return nil, fmt.Errorf("decoy: %w", err)
		}
	}
	return &u, nil
}
