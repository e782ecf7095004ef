package spoolpostgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// db is what runs statements.
type db interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// transaction is one that has begun when the first statements are sent, with them.
type transaction struct {
	conn    *pgxpool.Conn
	grouped bool // see group
	begun   bool
	last    pgx.Batch
	removed []int64 // keys of entries that end with it
	octets  int64   // of them
	// By these the outcome is known if the answer to COMMIT is lost.
	xid, started string
}

const whatItIs = "select pg_current_xact_id()::text, pg_postmaster_start_time()::text"

// SendBatch is what to send the first statements with: one round trip for them and the beginning.
func (t *transaction) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if t.begun {
		return t.conn.SendBatch(ctx, b)
	}
	t.begun = true
	all := new(pgx.Batch)
	all.Queue("begin")
	if t.grouped {
		all.Queue("set local lock_timeout = '" + groupLock + "'")
	}
	all.Queue(whatItIs).QueryRow(func(row pgx.Row) error { return row.Scan(&t.xid, &t.started) })
	all.QueuedQueries = append(all.QueuedQueries, b.QueuedQueries...)
	return t.conn.SendBatch(ctx, all)
}

func (t *transaction) begin(ctx context.Context) error {
	if t.begun {
		return nil
	}
	return t.SendBatch(ctx, new(pgx.Batch)).Close()
}

func (t *transaction) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := t.begin(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	return t.conn.Exec(ctx, sql, args...)
}

func (t *transaction) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	return t.conn.Query(ctx, sql, args...)
}

func (t *transaction) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := t.begin(ctx); err != nil {
		return noRow{err}
	}
	return t.conn.QueryRow(ctx, sql, args...)
}

// atCommit leaves a statement to be sent together with COMMIT, which saves a round trip. Those are sent in their order, after all others.
func (t *transaction) atCommit(sql string, args ...any) { t.last.Queue(sql, args...) }

// removeAtCommit has an entry end, with all that belongs to it.
func (t *transaction) removeAtCommit(key, octets int64) {
	t.removed, t.octets = append(t.removed, key), t.octets+octets
}

// removeEntries is one statement for all, since each costs as much again as what it does: every message ends with it.
const removeEntries = `WITH e AS (DELETE FROM msa_entry WHERE key = ANY($1) RETURNING object),
	b AS (DELETE FROM msa_body WHERE key = ANY($1)),
	j AS (DELETE FROM msa_job WHERE key = ANY($1)),
	d AS (DELETE FROM msa_due WHERE key = ANY($1)),
	g AS (INSERT INTO msa_gone SELECT object FROM e WHERE object IS NOT NULL)
	INSERT INTO msa_sum VALUES (-cardinality($1::bigint[]), -$2::bigint)`

// commit sends what was left for it, and COMMIT. What fails before has nothing committed.
func (t *transaction) commit(ctx context.Context) error {
	if len(t.removed) > 0 {
		t.atCommit(removeEntries, t.removed, t.octets)
	}
	var tag pgconn.CommandTag
	t.last.Queue("commit").Exec(func(ct pgconn.CommandTag) error { tag = ct; return nil })
	if err := t.conn.SendBatch(ctx, &t.last).Close(); err != nil {
		return err
	}
	if tag.String() != "COMMIT" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}

// noRow is the row of a question that was not asked.
type noRow struct{ error }

func (r noRow) Scan(...any) error { return r.error }
