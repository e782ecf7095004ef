package spoolpostgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

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
