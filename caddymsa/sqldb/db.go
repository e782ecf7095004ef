package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// DB is a database that is asked. It is safe for concurrent use.
type DB struct {
	options  Options
	driver   driver
	pool     *sql.DB
	password string // to connect with
}

// Open connects to nothing yet. Its errors repeat no part of the connection string.
func Open(o Options) (*DB, error) {
	d, ok := drivers[o.Driver]
	if !ok {
		return nil, fmt.Errorf("driver %q is not known; there are %s", o.Driver, strings.Join(Names, ", "))
	}
	db := &DB{options: o, driver: d}
	var err error
	if db.pool, db.password, err = d.open(o); err != nil {
		return nil, err
	}
	db.pool.SetMaxOpenConns(o.Connections)
	db.pool.SetMaxIdleConns(o.Connections)
	db.pool.SetConnMaxIdleTime(5 * time.Minute)
	db.pool.SetConnMaxLifetime(d.lifetime)
	return db, nil
}

// Close closes the connections.
func (db *DB) Close() error { return db.pool.Close() }

// Pool is what lies below.
func (db *DB) Pool() *sql.DB { return db.pool }

// Password is the one that is in use.
func (db *DB) Password() string { return db.password }

// Parse makes parameters of the names in braces that a query has. They stand without quotes.
func (db *DB) Parse(text string, names ...string) (Query, error) {
	return parseQuery(db.driver, text, names)
}

// Ask runs a query with a value for each parameter, and read on its rows. Connections that
// turn out to be of no use, since the server was restarted, are replaced. Errors hide the password.
func (db *DB) Ask(ctx context.Context, q Query, value func(name string) string, read func(*sql.Rows) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, db.options.Timeout, fmt.Errorf("no answer within %s", db.options.Timeout))
	defer cancel()
	var err error
	// All connections may be those of a server that has been restarted.
	for try := 0; try <= db.options.Connections; try++ {
		if err = db.ask(ctx, q, value, read); err == nil || ctx.Err() != nil || !db.driver.broken(err) {
			break
		}
	}
	if err != nil && ctx.Err() == nil && db.driver.mend != nil {
		if err = db.driver.mend(ctx, db.options, err); err == nil {
			err = db.ask(ctx, q, value, read)
		}
	}
	if err == nil {
		return nil
	}
	return db.failed(ctx, err)
}

func (db *DB) ask(ctx context.Context, q Query, value func(name string) string, read func(*sql.Rows) error) error {
	rows, err := db.pool.QueryContext(ctx, q.text, q.values(value)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if err := read(rows); err != nil {
		return err
	}
	return rows.Err()
}

// Mistake tells whether an error is the operator's, in the connection string or the query.
func (db *DB) Mistake(err error) bool { return db.driver.mistake(err) }

// Foreign tells whether the database refused a value because its character set cannot hold it:
// then it has no such thing.
func (db *DB) Foreign(err error) bool { return db.driver.foreign(err) }

// failed says what happened without what nobody may read.
func (db *DB) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	if text := conf.Redact(err.Error(), conf.NewResolved(db.password)); text != err.Error() {
		err = redacted{text, err}
	}
	return fmt.Errorf("%s: %w", db.driver.name, err)
}

// redacted is an error in other words.
type redacted struct {
	text  string
	cause error
}

func (r redacted) Error() string { return r.text }
func (r redacted) Unwrap() error { return r.cause }

// Literal tells whether the password that is in use stands in a configuration's settings (see conf.Shows).
func (db *DB) Literal(settings ...string) bool { return conf.Shows(db.password, settings...) }
