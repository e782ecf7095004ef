package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// isUnfinished tells whether a database has a transaction that whoever wrote it did not live to end, as in a power failure: it has
// to be undone before anybody can read (https://sqlite.org/lockingv3.html#hot_journals), which takes the right to write.
func isUnfinished(err error) bool {
	var e *modernc.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_READONLY_ROLLBACK
}

// undo has SQLite undo such a transaction, as every program would that may write to the database. After it the question can be asked
// again. A mode in the DSN is the operator's, and is left as it is.
func undo(ctx context.Context, o Options, cause error) error {
	path, values, err := takeApart(o.DSN)
	if err == nil && values.Has("mode") {
		err = errors.New("the DSN says mode=" + values.Get("mode"))
	}
	if err == nil {
		err = readOnce(ctx, "file:"+path+"?mode=rw&_busy_timeout="+busyTimeout(o))
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: who wrote to it broke off, and what was begun (the file beside it, -journal) has to be undone first, which cannot be done here (%w): let this server's user write to the database and its directory, or open it once as who may, for example with sqlite3 <database> .tables", cause, err)
}

func readOnce(ctx context.Context, dsn string) error {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	var version int
	return db.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&version)
}
