package spoolpostgres

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// scan finds jobs that are due: a few of each user in lanes that have room, and what is overdue. It looks at some lanes and
// users, and the next scan at others, so that it costs the same however many wait; or at all of them.
func (t *turns) scan(ctx context.Context, s *Store, now time.Time, want queue.Want, all bool) (due []claim, whole bool, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		due, whole = nil, false
		switch age := time.Since(t.looked); {
		case all || t.anew:
			if err := t.look(ctx, db); err != nil {
				return err
			}
			whole, t.anew = true, false
		case age >= t.relook && t.looking.CompareAndSwap(false, true):
			go t.lookBeside(s)
		}
		t.takeHeard()
		lanes := t.ready(s, want)
		limit, share := math.MaxInt32, 2
		if !all {
			share = t.share
			if len(lanes) > window {
				lanes, whole = t.rotate(lanes), false
			}
			limit = max(8, groups/max(1, len(lanes)))
		}
		users, ranks := make([]string, len(lanes)), make([]int16, len(lanes))
		for i, lane := range lanes {
			ranks[i] = math.MinInt16
			if at, ok := t.cursors[lane]; ok && !all {
				users[i], ranks[i], whole = at.user, at.rank, false
			}
		}
		if len(lanes) > 0 {
			rows, err := db.Query(ctx, `SELECT c.key, c.number, c.token, l.lane, g.usr, g.rank, c.due, c.deadline, c.due > c.accepted FROM unnest($1::text[], $2::text[], $3::smallint[]) AS l(lane, usr, rank)
				CROSS JOIN LATERAL (WITH RECURSIVE r AS (
					(SELECT usr, rank, 1 AS n FROM msa_due WHERE owner IS NULL AND NOT held AND lane = l.lane AND (usr, rank) > (l.usr, l.rank) ORDER BY usr, rank LIMIT 1)
					UNION ALL
					SELECT x.usr, x.rank, r.n + 1 FROM r CROSS JOIN LATERAL (
						SELECT usr, rank FROM msa_due WHERE owner IS NULL AND NOT held AND lane = l.lane AND (usr, rank) > (r.usr, r.rank) ORDER BY usr, rank LIMIT 1) x WHERE r.n < $6)
					SELECT usr, rank FROM r) g
				LEFT JOIN LATERAL (SELECT key, number, token, due, deadline, accepted FROM msa_due
					WHERE owner IS NULL AND NOT held AND lane = l.lane AND usr = g.usr AND rank = g.rank AND due <= $4 ORDER BY due, key, number LIMIT $5) c ON true
				WHERE c.key IS NOT NULL OR $6 < $7 LIMIT $7`,
				lanes, users, ranks, nanos(now), share, limit, enough)
			var more bool
			if due, more, err = t.gather(rows, err, lanes, limit); err != nil {
				return err
			}
			whole = whole && !more
		}
		rows, err := db.Query(ctx, `SELECT key, number, token, lane, usr, rank, due, deadline, due > accepted FROM msa_due
			WHERE owner IS NULL AND NOT held AND deadline <= $1 ORDER BY deadline LIMIT $2`, nanos(now), 2*batch)
		due, err = collect(rows, err, due)
		return err
	})
	return due, whole, err
}

// ready are the lanes of which something is taken.
func (t *turns) ready(s *Store, want queue.Want) (lanes []string) {
	for _, lane := range t.known {
		if t.room(s, lane, want) > 0 {
			lanes = append(lanes, lane)
		}
	}
	return lanes
}

// rotate is a window of lanes, after that of the scan before.
func (t *turns) rotate(lanes []string) []string {
	from, _ := slices.BinarySearch(lanes, t.lane0+"\x00")
	some := make([]string, 0, window)
	for i := range window {
		some = append(some, lanes[(from+i)%len(lanes)])
	}
	t.lane0 = some[window-1]
	return some
}

// gather reads a scan's jobs, and notes where in each lane the next one goes on. It sees to it that the next looks at so many jobs of each
// group that there are enough for a batch and not many more.
func (t *turns) gather(rows pgx.Rows, err error, lanes []string, limit int) (due []claim, more bool, err2 error) {
	if err != nil {
		return nil, false, err
	}
	var key, token, when, deadline *int64
	var number *int32
	var tried *bool
	var c claim
	last, count := make(map[string]place), make(map[string]int)
	users := make(map[turn]bool)
	_, err = pgx.ForEachRow(rows, []any{&key, &number, &token, &c.lane, &c.user, &c.rank, &when, &deadline, &tried}, func() error {
		if at := (place{c.user, c.rank}); count[c.lane] == 0 || last[c.lane] != at {
			last[c.lane] = at
			count[c.lane]++
		}
		if key != nil {
			c.key, c.number, c.token, c.due, c.deadline, c.tried = *key, *number, *token, *when, *deadline, *tried
			due = append(due, c)
			users[turn{c.user, c.lane}] = true
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	for _, lane := range lanes {
		if count[lane] < limit {
			delete(t.cursors, lane)
		} else {
			t.cursors[lane], more = last[lane], true
		}
	}
	if len(t.cursors) > maxServed {
		clear(t.cursors)
	}
	t.share = max(1, min(batch, 8*batch/max(1, len(users))))
	return due, more, nil
}

func collect(rows pgx.Rows, err error, all []claim) ([]claim, error) {
	if err != nil {
		return nil, err
	}
	var c claim
	_, err = pgx.ForEachRow(rows, []any{&c.key, &c.number, &c.token, &c.lane, &c.user, &c.rank, &c.due, &c.deadline, &c.tried}, func() error {
		all = append(all, c)
		return nil
	})
	return all, err
}
