package spoolpostgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// remember has the message be the only one with its digest, or gives a *queue.BeforeError. It waits for another node's commit of the same.
func remember(ctx context.Context, tx db, a *queue.Accept) error {
	digest := a.Once.Digest[:]
	tag, err := tx.Exec(ctx, `INSERT INTO msa_digest AS d (digest, id, until) VALUES ($1, $2, now() + $3::interval)
		ON CONFLICT (digest) DO UPDATE SET id = excluded.id, until = excluded.until WHERE d.until <= now()`, digest, a.Entry.ID, a.Once.Keep)
	if err != nil || tag.RowsAffected() == 1 {
		return err
	}
	before := new(queue.BeforeError)
	if err := tx.QueryRow(ctx, "SELECT id FROM msa_digest WHERE digest = $1", digest).Scan(&before.ID); err != nil {
		return err
	}
	return before
}

// Before implements queue.Rememberer.
func (s *Store) Before(ctx context.Context, digest [32]byte) (id string, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		err := db.QueryRow(ctx, "SELECT id FROM msa_digest WHERE digest = $1 AND until > now()", digest[:]).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return id, err
}

// Interface guard
var _ queue.Rememberer = (*Store)(nil)
