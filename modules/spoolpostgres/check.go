package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Check implements queue.Checker: it reads every envelope and every octet of every message, and looks whether all that is to be
// delivered waits to be, while others go on.
func (s *Store) Check(ctx context.Context, progress func(int), found func(id, problem string)) (messages int, octets int64, err error) {
	for after := ""; ; {
		var ids []string
		if err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
			rows, err := db.Query(ctx, "SELECT id FROM msa_entry WHERE id > $1 ORDER BY id LIMIT $2", after, listPage)
			if err == nil {
				ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
			}
			return err
		}); err != nil {
			return messages, octets, err
		}
		for _, id := range ids {
			n, err := s.checkMessage(ctx, id)
			if err != nil && (ctx.Err() != nil || s.closed() || broken(err)) {
				return messages, octets, err
			}
			if isNotFound(err) {
				continue
			}
			if messages++; err != nil {
				found(id, err.Error())
			}
			octets += n
		}
		progress(messages)
		if len(ids) < listPage {
			return messages, octets, nil
		}
		after = ids[len(ids)-1]
	}
}

// checkMessage reads a message, and returns its size. ErrNotFound: it was delivered meanwhile.
func (s *Store) checkMessage(ctx context.Context, id string) (octets int64, err error) {
	m, err := s.Get(ctx, id)
	if err != nil {
		return 0, err
	}
	if octets, err = s.checkBody(ctx, id); err == nil {
		err = s.checkDue(ctx, m)
	}
	if err != nil {
		if _, gone := s.Get(ctx, id); isNotFound(gone) {
			return 0, queue.ErrNotFound
		}
		if isNotFound(err) { // its entry is there
			err = errors.New("the message is not whole: pieces of it are missing")
		}
	}
	return octets, err
}

func (s *Store) checkBody(ctx context.Context, id string) (octets int64, err error) {
	r, err := s.OpenMessage(ctx, id)
	if err != nil {
		return 0, err
	}
	octets, err = io.Copy(io.Discard, r)
	return octets, errors.Join(err, r.Close())
}

// checkDue looks whether each job that is to be delivered waits, or is leased.
func (s *Store) checkDue(ctx context.Context, m *queue.EntryView) error {
	var due []int
	if err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		rows, err := db.Query(ctx, "SELECT number FROM msa_due WHERE key = (SELECT key FROM msa_entry WHERE id = $1)", m.Entry.ID)
		if err == nil {
			due, err = pgx.CollectRows(rows, pgx.RowTo[int])
		}
		return err
	}); err != nil {
		return err
	}
	now, err := s.Get(ctx, m.Entry.ID) // which may have changed since
	if err != nil {
		return err
	}
	for i := range now.Jobs {
		j := &now.Jobs[i]
		was := slices.IndexFunc(m.Jobs, func(w queue.Job) bool { return w.Number == j.Number && w.Pending() })
		if j.Pending() && was >= 0 && !slices.Contains(due, j.Number) {
			return fmt.Errorf("job %d is to be delivered and does not wait for it", j.Number)
		}
	}
	return nil
}

// Interface guard
var _ queue.Checker = (*Store)(nil)
