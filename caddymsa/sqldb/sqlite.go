package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var sqlite = driver{
	name:     "sqlite",
	numbered: "?%d",
	own:      regexp.MustCompile(`^[?$]`),
	lifetime: time.Minute, // a file that another was renamed over is opened soon
	open:     openSQLite,
	mistake: func(err error) bool {
		var e *modernc.Error
		if !errors.As(err, &e) || isUnfinished(err) { // others may undo it
			return false
		}
		switch e.Code() & 0xff { // without what extends it
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR:
			return false
		}
		return true
	},
	mend: func(ctx context.Context, o Options, err error) error {
		if !isUnfinished(err) {
			return err
		}
		return undo(ctx, o, err)
	},
	foreign: no,
	gone:    no,
}

// openSQLite takes a path, or a URI "file:..." with SQLite's parameters. Unless that says another
// mode, the database is opened to read only, and never made.
func openSQLite(o Options) (*sql.DB, string, error) {
	path, values, err := takeApart(o.DSN)
	if err != nil {
		return nil, "", err
	}
	chosen := values.Has("mode") || values.Has("immutable") || values.Has("vfs")
	if !values.Has("mode") {
		values.Set("mode", "ro")
		values.Set("_query_only", "1")
	}
	values.Set("_busy_timeout", busyTimeout(o))
	file, err := url.PathUnescape(path)
	if err != nil {
		return nil, "", fmt.Errorf("dsn: %w", err)
	}
	w := &walConnector{path: strings.TrimPrefix(file, "//")}
	if w.Connector, err = modernc.NewConnector("file:" + path + "?" + values.Encode()); err != nil {
		return nil, "", fmt.Errorf("dsn: %w", err)
	}
	if !chosen {
		values.Set("immutable", "1")
		if w.immutable, err = modernc.NewConnector("file:" + path + "?" + values.Encode()); err != nil {
			return nil, "", fmt.Errorf("dsn: %w", err)
		}
	}
	return sql.OpenDB(w), "", nil
}

// takeApart is the path in a DSN, as a URI has it, and its parameters.
func takeApart(dsn string) (path string, values url.Values, err error) {
	path, parameters, _ := strings.Cut(strings.TrimPrefix(dsn, "file:"), "?")
	if !strings.HasPrefix(dsn, "file:") {
		path, parameters = filepath.ToSlash(dsn), ""
		if filepath.VolumeName(dsn) != "" {
			path = "/" + path
		}
		path = (&url.URL{Path: path}).EscapedPath()
	}
	values, err = url.ParseQuery(parameters)
	if err != nil || path == "" {
		return "", nil, errors.New("dsn: is neither a path nor a URI such as file:/var/lib/msa/users.db?mode=ro")
	}
	return path, values, nil
}

// busyTimeout has who waits for a lock told before the time for the query is over.
func busyTimeout(o Options) string { return fmt.Sprint((o.Timeout * 4 / 5).Milliseconds()) }
