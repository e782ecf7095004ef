package spoolpostgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Tally implements queue.Tallier. A dead letter has nothing but the job that buries it, at a time; what a sender is
// to be told of a message of which nothing else is left is due at once.
func (s *Store) Tally(ctx context.Context) (t queue.Tally, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		t = queue.Tally{}
		var next *int64
		if err := db.QueryRow(ctx, `SELECT
			(SELECT count(DISTINCT key) FROM msa_due WHERE held),
			(SELECT count(*) FROM msa_due d WHERE number = 0 AND NOT held AND due > $1
				AND NOT EXISTS (SELECT 1 FROM msa_due o WHERE o.key = d.key AND o.number > 0)),
			(SELECT min(due) FROM msa_due WHERE owner IS NULL AND NOT held)`, int64(always)).Scan(&t.Held, &t.Dead, &next); err != nil {
			return err
		}
		if next != nil {
			t.Next = time.Unix(0, max(0, *next))
		}
		return nil
	})
	return t, err
}

// Engine implements queue.EngineTeller.
func (s *Store) Engine() queue.Engine {
	e := queue.Engine{Up: !s.down.Load() && !s.closed()}
	for _, p := range []struct {
		name string
		pool *pgxpool.Pool
	}{{"durable", s.pool}, {"quick", s.quick}, {"counts", s.counts}} {
		st := p.pool.Stat()
		e.Pools = append(e.Pools, queue.Pool{Name: p.name, Used: int(st.AcquiredConns()), Idle: int(st.IdleConns()), Opening: int(st.ConstructingConns()),
			Max: int(st.MaxConns()), Waits: st.EmptyAcquireCount(), Waited: st.EmptyAcquireWaitTime()})
	}
	return e
}

// Interface guards
var (
	_ queue.Tallier      = (*Store)(nil)
	_ queue.EngineTeller = (*Store)(nil)
)
