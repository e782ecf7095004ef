package spoolpostgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// far is how long a question takes to a database that is in another town.
const far = 20 * time.Millisecond

// Examine implements caddymsa.Examiner: the database answers, how long that takes, and whether it still keeps what it commits.
func (p *PostgresSpool) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("spool", p.Key())
	const unreachable = "start PostgreSQL, or correct the connection string: until then messages are refused (451)"
	conn, err := pgx.ConnectConfig(ctx, p.options.config.ConnConfig.Copy())
	if err != nil {
		n.Wrong(unreachable, "the database cannot be reached: %v", err)
		return n.Findings
	}
	defer conn.Close(ctx)
	var fsync, commit string
	took := time.Hour
	for range 5 {
		began := time.Now()
		if err := conn.QueryRow(ctx, "SELECT current_setting('fsync'), current_setting('synchronous_commit')").Scan(&fsync, &commit); err != nil {
			n.Wrong(unreachable, "the database does not answer: %v", err)
			return n.Findings
		}
		took = min(took, time.Since(began))
	}
	var standby bool
	if err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
		n.Wrong(unreachable, "the database does not answer: %v", err)
		return n.Findings
	}
	switch {
	case standby:
		n.Wrong("name the primary in the connection string, or all hosts with target_session_attrs=read-write", "the connection leads to a standby, which takes nothing")
	case fsync != "on" || commit == "off":
		n.Wrong("set fsync = on and synchronous_commit = on in postgresql.conf, or for the user", "accepted messages are lost when the database crashes: fsync is %s, synchronous_commit is %s", fsync, commit)
	case took > far:
		n.Warn("have the database near: each message asks it several times before it is accepted", "a question takes %s", took.Round(time.Millisecond))
	default:
		n.OK("a question takes %s; synchronous_commit is %s", took.Round(10*time.Microsecond), commit)
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*PostgresSpool)(nil)
