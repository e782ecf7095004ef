package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

var postgres = driver{
	name:     "postgres",
	numbered: "$%d",
	own:      regexp.MustCompile(`^\$`),
	lifetime: 30 * time.Minute,
	open:     openPostgres,
	mistake: func(err error) bool {
		// Data exception, invalid authorization, invalid catalog and schema name, syntax error or
		// access rule violation, in class or code.
		return hasState(err, "22", "28", "3D", "3F", "42")
	},
	foreign: func(err error) bool { return hasState(err, "22021", "22P05") },
	gone:    func(err error) bool { return hasState(err, "57P01", "57P02") },
}

// hasState tells whether the server gave an SQLSTATE that begins so.
func hasState(err error, states ...string) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && slices.ContainsFunc(states, func(s string) bool {
		return len(e.Code) >= len(s) && e.Code[:len(s)] == s
	})
}

// openPostgres takes a URL or keywords and values, as psql does.
func openPostgres(o Options) (*sql.DB, string, error) {
	c, err := pgx.ParseConfig(o.DSN)
	if file := conf.DSNFile(err); file != nil {
		return nil, "", fmt.Errorf("dsn: %w", file)
	}
	if err != nil {
		// The cause quotes pieces of the string.
		return nil, "", errors.New(`dsn: PostgreSQL cannot read it; write postgres://msa@db.example.org/mail?sslmode=verify-full or "host=db.example.org user=msa", and a password with special characters as the setting password`)
	}
	if c.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		return nil, "", errors.New("dsn: default_query_exec_mode=simple_protocol puts values into the text of the query; exec does without prepared statements too")
	}
	if o.Password != "" {
		c.Password = o.Password
	}
	if each := o.Timeout / time.Duration(1+len(c.Fallbacks)); c.ConnectTimeout == 0 || c.ConnectTimeout > each {
		c.ConnectTimeout = each // of a host: the next one is to be found in time
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "caddy-msa"
	}
	return stdlib.OpenDB(*c, stdlib.OptionBeforeConnect(freshFiles(o.DSN))), c.Password, nil
}

// freshFiles has a connection made with the certificates that sslrootcert, sslcert and sslkey have by then: they are replaced while Caddy runs, and
// a reload that changes nothing else keeps the database's connections. Where they cannot be read it is made with those of before.
func freshFiles(dsn string) func(context.Context, *pgx.ConnConfig) error {
	return func(_ context.Context, c *pgx.ConnConfig) error {
		if now, err := pgx.ParseConfig(dsn); err == nil {
			c.TLSConfig, c.Fallbacks = now.TLSConfig, now.Fallbacks
		}
		return nil
	}
}
