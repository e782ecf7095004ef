package spoolpostgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// unreadableFor is how long a job waits whose rows cannot be read: until somebody may have mended them.
const unreadableFor = 10 * time.Minute

// putOff has jobs wait whatever their deadlines.
func (s *Store) putOff(ctx context.Context, some []*lease) error {
	later := nanos(time.Now().Add(unreadableFor))
	return s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		for _, l := range some {
			if _, err := db.Exec(ctx, `UPDATE msa_due SET owner = NULL, handed = false, due = $5, deadline = greatest(deadline, $5)
				WHERE key = $1 AND number = $2 AND owner IS NOT DISTINCT FROM $3 AND token = $4`, l.key, l.number, l.owner, l.token, later); err != nil {
				return err
			}
		}
		return nil
	})
}
