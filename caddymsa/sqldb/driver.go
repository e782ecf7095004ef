// Package sqldb asks databases with queries that operators write: PostgreSQL, MySQL or MariaDB, SQLite.
package sqldb

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"io"
	"net"
	"regexp"
	"syscall"
	"time"
)

// driver is what the databases differ in.
type driver struct {
	name string

	numbered    string         // a parameter, by number, that may stand more than once
	positional  bool           // or "?", each by itself
	backslashes bool           // escape in quoted text
	own         *regexp.Regexp // parameters in the database's own words

	lifetime time.Duration // of a connection

	// open parses a connection string. It connects to nothing. Errors repeat no part of the
	// string. password is what is in use, to keep it out of errors.
	open func(o Options) (db *sql.DB, password string, err error)

	// mistake tells whether an error is the operator's, in the connection string or the query.
	mistake func(error) bool
	// foreign tells whether the database refused a name because its character set cannot hold it:
	// then no user has it.
	foreign func(error) bool
	// mend puts right what keeps a question from being asked, if it can: then it is asked again. nil: there is nothing.
	mend func(ctx context.Context, o Options, err error) error
	// gone tells whether the server closed the connection in its own words.
	gone func(error) bool
}

var drivers = map[string]driver{"postgres": postgres, "mysql": mySQL, "sqlite": sqlite}

// Names are the databases that there are drivers for.
var Names = []string{"postgres", "mysql", "sqlite"}

// Options are resolved settings.
type Options struct {
	Driver   string // one of Names
	DSN      string
	Password string // in place of one in the DSN

	Timeout     time.Duration // of a question, and of making a connection
	Connections int           // at most
}

// broken tells whether a connection was found to be of no use: that of a server that has been
// restarted. Another one may do. A server that cannot be reached is something else.
func (d driver) broken(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	for _, e := range []error{sqldriver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return d.gone(err)
}

func no(error) bool { return false }
