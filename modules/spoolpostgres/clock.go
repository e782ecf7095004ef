package spoolpostgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
)

const (
	// clockWrong is by how much a clock must differ to have been wrong.
	clockWrong = time.Minute
	// recheck is how often what was accepted in the future is looked for.
	recheck = time.Hour
)

// clock notices that this node's clock was set back: nobody knows then when what waits was to be due.
func (t *turns) clock(ctx context.Context, s *Store, now time.Time) error {
	if now.Before(t.latest.Add(-clockWrong)) {
		if err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
			_, err := db.Exec(ctx, `UPDATE msa_due SET due = least(due, $1), deadline = CASE WHEN accepted > $2 AND deadline < $3 THEN least(deadline, $1) ELSE deadline END
				WHERE owner IS NULL AND NOT held AND (due > $1 OR accepted > $2) AND number > 0`, nanos(now), nanos(now.Add(clockWrong)), never)
			return err
		}); err != nil {
			return err
		}
		t.latest = now
	}
	if now.After(t.latest) {
		t.latest = now
	}
	return nil
}

// fromFuture has what was accepted in the future be due now, whatever its lane says: a node whose clock was ahead took it, and nobody else
// would touch it until then. What was tried since is due by a clock that was right.
func (s *Store) fromFuture(ctx context.Context) {
	now := time.Now()
	tag, err := s.quick.Exec(ctx, `UPDATE msa_due SET due = $1, deadline = CASE WHEN deadline < $3 THEN $1 ELSE deadline END
		WHERE owner IS NULL AND NOT held AND due > $2 AND accepted > $2 AND due >= accepted AND number > 0`, nanos(now), nanos(now.Add(clockWrong)), never)
	if err != nil {
		s.log.Warn("what a wrong clock had accepted was not looked for", zap.Error(err))
	}
	if tag.RowsAffected() > 0 {
		s.changed()
	}
}
