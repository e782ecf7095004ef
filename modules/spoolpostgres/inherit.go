package spoolpostgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// nameLock is the first half of the advisory lock, shared, that a process has on its node's name for as long as it is connected.
const nameLock = int32(migrateLock) + 4

// inherit has a node that starts again go on at once with what the process before it had in hand, which was killed: it need not wait
// for the end of a lease that nobody renews. A process that lives is connected, a stopped one too, and so keeps its name; one that has lost
// its connections at that very moment finds itself fenced, as after its lease's end.
func (s *Store) inherit(ctx context.Context, tx pgx.Tx) error {
	var free bool
	if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1, hashtext($2))", nameLock, s.nameKey()).Scan(&free); err != nil || !free {
		return err
	}
	tag, err := tx.Exec(ctx, "DELETE FROM msa_node WHERE name = $1", s.node)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	// What it claimed while it was deleted has an owner that is not there, which tidy finds.
	tag, err = tx.Exec(ctx, `UPDATE msa_due SET owner = NULL, handed = false, token = token + 1
		WHERE owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM msa_node n WHERE n.id = msa_due.owner)`)
	if err == nil {
		s.log.Info("this node ended without a word; what it had in hand is due again", zap.String("node", s.node), zap.Int64("jobs", tag.RowsAffected()))
	}
	return err
}

// nameKey is what the second half of the lock is made of.
func (s *Store) nameKey() string { return s.schema + "\x1f" + s.node }

// keepName holds the name for as long as the connection lasts.
func (s *Store) keepName(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SELECT pg_advisory_lock_shared($1, hashtext($2))", nameLock, s.nameKey())
	return err
}
