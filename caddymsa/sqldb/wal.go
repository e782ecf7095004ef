package sqldb

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"

	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// walConnector opens databases in WAL mode that may only be read, directory and all. SQLite wants files
// beside such a database, and makes them; where it cannot, and there is nothing in a log that had to be
// read too, the file by itself is the database (immutable, in SQLite's word).
type walConnector struct {
	sqldriver.Connector
	immutable sqldriver.Connector // nil: the operator has said how to open it
	path      string
}

// Connect implements sqldriver.Connector. SQLite opens files when it is first asked something, so it is.
func (w *walConnector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	c, err := w.connect(ctx, w.Connector)
	if cannotOpen(err) { // SQLite says neither which file nor why
		f, operr := os.Open(w.path)
		if operr != nil {
			return nil, fmt.Errorf("%w: %w", operr, err)
		}
		_ = f.Close()
	}
	if !cannotOpen(err) || !inWALMode(w.path) {
		return c, err
	}
	if info, err := os.Stat(w.path + "-wal"); w.immutable != nil && (err != nil || info.Size() == 0) {
		if c, err := w.connect(ctx, w.immutable); err == nil {
			return &once{c}, nil
		}
	}
	return nil, fmt.Errorf("%w: it is in WAL mode, in which SQLite reads and writes files beside it (-wal and -shm), and may not here: let this server's user write to the directory and to these files, or end the mode with PRAGMA journal_mode=DELETE", err)
}

func (w *walConnector) connect(ctx context.Context, connector sqldriver.Connector) (sqldriver.Conn, error) {
	c, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := c.(sqldriver.QueryerContext).QueryContext(ctx, "PRAGMA schema_version", nil)
	if err == nil {
		if err = rows.Next(make([]sqldriver.Value, len(rows.Columns()))); err == io.EOF {
			err = nil
		}
		_ = rows.Close()
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// cannotOpen tells whether SQLite lacks a right, to the database or to what belongs beside it.
func cannotOpen(err error) bool {
	var e *modernc.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff { // without what extends it
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return true
	}
	return false
}

// inWALMode reads the header of a database (https://sqlite.org/fileformat.html, section 1.3).
func inWALMode(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var header [20]byte
	_, err = io.ReadFull(f, header[:])
	return err == nil && string(header[:16]) == "SQLite format 3\x00" && header[19] == 2
}

// once is a connection for one question: an immutable one would not see changes.
type once struct{ sqldriver.Conn }

// IsValid implements sqldriver.Validator.
func (*once) IsValid() bool { return false }

// QueryContext implements sqldriver.QueryerContext.
func (o *once) QueryContext(ctx context.Context, query string, args []sqldriver.NamedValue) (sqldriver.Rows, error) {
	return o.Conn.(sqldriver.QueryerContext).QueryContext(ctx, query, args)
}

// PrepareContext implements sqldriver.ConnPrepareContext.
func (o *once) PrepareContext(ctx context.Context, query string) (sqldriver.Stmt, error) {
	return o.Conn.(sqldriver.ConnPrepareContext).PrepareContext(ctx, query)
}
