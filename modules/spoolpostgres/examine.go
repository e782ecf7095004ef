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
	c := p.options.config.ConnConfig.Copy()
	c.ValidateConnect = p.options.wanted // what is wrong with the server is said below
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		n.Wrong(unreachable, "the database cannot be reached: %v", err)
		return n.Findings
	}
	defer conn.Close(ctx)
	took := time.Hour
	for range 5 {
		began := time.Now()
		if err := conn.Ping(ctx); err != nil {
			n.Wrong(unreachable, "the database does not answer: %v", err)
			return n.Findings
		}
		took = min(took, time.Since(began))
	}
	if took > far {
		n.Warn("have the database near: each message asks it several times before it is accepted", "a question takes %s", took.Round(time.Millisecond))
	} else {
		n.OK("a question takes %s", took.Round(10*time.Microsecond))
	}
	if err := keeps(ctx, n, conn); err != nil {
		n.Wrong(unreachable, "the database does not answer: %v", err)
	}
	return n.Findings
}

// keeps looks whether what the database commits is still there after a crash, a power loss and the loss of its disk.
func keeps(ctx context.Context, n *doctor.Notes, conn *pgx.Conn) error {
	var fsync, pages, commit, names string
	var standby bool
	var followers int // whether they are synchronous an ordinary user is not told
	if err := conn.QueryRow(ctx, "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), pg_is_in_recovery(), (SELECT count(*) FROM pg_stat_replication)").
		Scan(&fsync, &pages, &commit, &names, &standby, &followers); err != nil {
		return err
	}
	if standby {
		n.Wrong("name the primary in the connection string, or all hosts with target_session_attrs=read-write", "the connection leads to a standby, which takes nothing")
		return nil
	}
	if fsync != "on" || commit == "off" {
		n.Wrong("set fsync = on and synchronous_commit = on in postgresql.conf, or synchronous_commit for the user: ALTER ROLE ... SET synchronous_commit = on; until then the spool is not opened when Caddy is started",
			"accepted messages are lost when the database crashes: fsync is %s, synchronous_commit is %s", fsync, commit)
	}
	if pages != "on" {
		n.Warn("set full_page_writes = on in postgresql.conf, unless the file system writes pages of 8 KiB whole, as ZFS does", "a loss of power may damage the database: full_page_writes is off")
	}
	const follow = "have a standby follow, and name it in synchronous_standby_names, such as 'ANY 1 (*)', in postgresql.conf (docs/cluster.md)"
	switch {
	case commit == "off": // which is worse
	case names == "":
		n.Warn(follow+"; or live with it", "accepted messages are lost with the database's disk: there is no synchronous standby (synchronous_standby_names is empty)")
	case commit == "local":
		n.Warn("set synchronous_commit = on for the user of the spool", "accepted messages are lost with the database's disk: synchronous_commit is local, so that no standby is waited for")
	case followers == 0:
		n.Wrong("start the standby, or let the primary go on without one: set synchronous_standby_names = '' in postgresql.conf and reload it",
			"clients hear 451: the database waits for a standby at each commit (synchronous_standby_names = %s), and none is connected", names)
	default:
		n.OK("each commit waits for a synchronous standby (synchronous_commit is %s)", commit)
	}
	return nil
}

// Interface guard
var _ caddymsa.Examiner = (*PostgresSpool)(nil)
