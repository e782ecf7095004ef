package sqldb

import (
	"context"
	"fmt"
)

// Do runs statements that change something, all of them or none, with a value for each parameter. It is not tried again: whether
// something has changed is not known where an error comes late. Errors hide the password.
func (db *DB) Do(ctx context.Context, all []Query, value func(name string) any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, db.options.Timeout, fmt.Errorf("no answer within %s", db.options.Timeout))
	defer cancel()
	tx, err := db.pool.BeginTx(ctx, nil)
	for try := 0; err != nil && try <= db.options.Connections && ctx.Err() == nil && db.driver.broken(err); try++ {
		tx, err = db.pool.BeginTx(ctx, nil) // connections may be those of a server that was restarted
	}
	if err != nil {
		return db.failed(ctx, err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, q := range all {
		if _, err := tx.ExecContext(ctx, q.text, q.bind(value)...); err != nil {
			return db.failed(ctx, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return db.failed(ctx, err)
	}
	return nil
}

func (q Query) bind(value func(name string) any) []any {
	all := make([]any, len(q.args))
	for i, arg := range q.args {
		all[i] = value(arg)
	}
	return all
}
