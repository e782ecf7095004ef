package spoolpostgres

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

const (
	// countConns are connections of their own: whoever counts gives up soon when the database hangs, which closes the connection,
	// and must not take those away by which leases are renewed.
	countConns = 4
	// maxCounts bounds the table, to some 200 MB. Beyond it those are forgotten that would end first.
	maxCounts = 1_000_000
	// countsEvery is how often it is looked at.
	countsEvery = 30 * time.Second
)

// Statements for one change, $1 to $4: key, what is added, the most, and for how many microseconds it is kept or 0. A count that passes is
// stored as the moment at which nothing is left of it, in microseconds.
const (
	countNow   = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
	countEmpty = "CASE WHEN $4::bigint = 0 THEN n.us ELSE 0 END"
	countHas   = "CASE WHEN $4::bigint = 0 THEN greatest(c.level, n.us) WHEN to_timestamp(n.us / 1e6) >= c.until THEN 0 ELSE c.level END"
	countUntil = "to_timestamp(CASE WHEN $4::bigint = 0 THEN w.level ELSE n.us + $4::bigint END / 1e6)"

	countAdd = `INSERT INTO msa_count AS c (key, level, until)
		SELECT $1, w.level, ` + countUntil + ` FROM (SELECT ` + countNow + ` AS us) n, LATERAL (SELECT ` + countEmpty + ` + $2::bigint AS level) w
		WHERE $3::bigint = 0 OR $2::bigint <= $3::bigint
		ON CONFLICT (key) DO UPDATE SET (level, until) = (
			SELECT w.level, ` + countUntil + ` FROM (SELECT ` + countNow + ` AS us) n, LATERAL (SELECT ` + countHas + ` + $2::bigint AS level) w)
		WHERE $3::bigint = 0 OR (SELECT ` + countHas + ` + $2::bigint - ` + countEmpty + ` FROM (SELECT ` + countNow + ` AS us) n) <= $3::bigint`
	countGive = `UPDATE msa_count c SET (level, until) = (
			SELECT w.level, ` + countUntil + ` FROM (SELECT ` + countNow + ` AS us) n, LATERAL (SELECT greatest(` + countEmpty + `, ` + countHas + ` + $2::bigint) AS level) w)
		WHERE key = $1 AND $3::bigint IS NOT NULL`
	countLook = `SELECT ` + countHas + ` - ` + countEmpty + ` FROM msa_count c, (SELECT ` + countNow + ` AS us) n WHERE key = $1 AND $2::bigint IS NOT NULL AND $3::bigint IS NOT NULL`
)

// Count implements counts.Counter. It is one round trip; a transaction, in which keys are locked in their order.
func (s *Store) Count(ctx context.Context, changes ...counts.Change) ([]counts.Count, error) {
	if s.closed() {
		return nil, queue.ErrClosed
	}
	order := make([]int, len(changes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(changes[a].Key, changes[b].Key) })
	found := make([]counts.Count, len(changes))
	b := new(pgx.Batch)
	for _, i := range order {
		c, f := changes[i], &found[i]
		args := []any{c.Key, c.Add, c.Max, c.Keep.Microseconds()}
		switch {
		case c.Look || c.Add == 0:
		case c.Add > 0:
			b.Queue(countAdd, args...).Exec(func(tag pgconn.CommandTag) error { f.Full = tag.RowsAffected() == 0; return nil })
		default:
			b.Queue(countGive, args...)
		}
		b.Queue(countLook, args...).Query(func(rows pgx.Rows) error {
			if rows.Next() {
				if err := rows.Scan(&f.Level); err != nil {
					return err
				}
			}
			if c.Look {
				f.Full = c.Add > 0 && c.Max > 0 && f.Level+c.Add > c.Max
			}
			rows.Close()
			return rows.Err()
		})
	}
	return found, s.counts.SendBatch(ctx, b).Close()
}

// tidyCounts forgets what has passed, now and then.
func (s *Store) tidyCounts(ctx context.Context) {
	if time.Since(s.counted) >= countsEvery {
		s.counted = time.Now()
		_ = s.forgetCounts(ctx, maxCounts)
	}
}

// forgetCounts is what one node does at a time.
func (s *Store) forgetCounts(ctx context.Context, most int) error {
	return pgx.BeginFunc(ctx, s.quick, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1 + 6, hashtext($2))", int32(migrateLock), s.schema).Scan(&mine); err != nil || !mine {
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM msa_count WHERE until < now()"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM msa_count WHERE (SELECT count(*) FROM msa_count) > $1
			AND key IN (SELECT key FROM msa_count ORDER BY until DESC OFFSET $1)`, most)
		return err
	})
}

func (s *Store) openCounts(c *pgxpool.Config) (err error) {
	c = c.Copy()
	c.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
	c.MaxConns = countConns
	s.counts, err = pgxpool.NewWithConfig(s.life, c)
	return err
}

// Interface guard
var _ counts.Counter = (*Store)(nil)
