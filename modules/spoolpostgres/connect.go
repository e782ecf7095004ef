package spoolpostgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	errStandby = errors.New("the server is a standby; name the primary, or all hosts of the cluster")
	errFsync   = errors.New("the server has fsync off, so that accepted messages would be lost with its power; set fsync = on in postgresql.conf")
	errCommit  = errors.New("the server has synchronous_commit off, so that accepted messages would be lost when it crashes; set synchronous_commit = on for this user or in postgresql.conf")
)

// Settings by which a server or a role could end what must not end. Those that all versions know are in the connection's startup; a server
// refuses a connection with one that it does not know.
const (
	laterSettings = "'transaction_timeout', 'idle_session_timeout'"
	suitability   = `SELECT pg_is_in_recovery(), current_setting('fsync') <> 'on', current_setting('synchronous_commit') = 'off',
		(SELECT count(set_config(name, '0', false)) FROM unnest(ARRAY[` + laterSettings + `]) AS name WHERE current_setting(name, true) IS NOT NULL)`
)

// suitable is asked of each new connection: after a failover the server is another, with settings of its own, and one that is a
// standby would say of a COMMIT on the primary that it never was. The next host is tried then. before is what the
// connection string asks for.
func suitable(before pgconn.ValidateConnectFunc, durably bool) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, conn *pgconn.PgConn) error {
		if before != nil {
			if err := before(ctx, conn); err != nil {
				return err
			}
		}
		r := conn.ExecParams(ctx, suitability, nil, nil, nil, nil).Read()
		if r.Err != nil {
			return r.Err
		}
		if len(r.Rows) != 1 {
			return errors.New("the server did not say what it is")
		}
		is := func(column int) bool { return string(r.Rows[0][column]) == "t" }
		switch {
		case is(0):
			return errStandby
		case is(1):
			return errFsync
		case durably && is(2):
			return errCommit
		}
		return nil
	}
}
