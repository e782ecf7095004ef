package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// listPage is how many entries List reads at once.
const listPage = 100

// Get implements queue.Operator.
func (s *Store) Get(ctx context.Context, id string) (m *queue.EntryView, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) (err error) {
		m, err = oneView(db.Query(ctx, fmt.Sprintf(view, "msa_entry", "WHERE e.id = $1"), id))
		return err
	})
	return m, err
}

// OpenMessage implements queue.MessageOpener.
func (s *Store) OpenMessage(ctx context.Context, id string) (r io.ReadSeekCloser, err error) {
	var key, octets int64
	var object *string
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		err := db.QueryRow(ctx, "SELECT key, octets, object FROM msa_entry WHERE id = $1", id).Scan(&key, &octets, &object)
		if errors.Is(err, pgx.ErrNoRows) {
			return queue.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.message(ctx, key, octets, object)
}

// List implements queue.Operator. What cannot be read is said at the end, so that all others can be seen.
func (s *Store) List(ctx context.Context, after string, yield func(*queue.EntryView) bool) (unreadable error) {
	for {
		var page []viewed
		if err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) (err error) {
			page, err = views(db.Query(ctx, fmt.Sprintf(view, "(SELECT * FROM msa_entry WHERE id > $1 ORDER BY id LIMIT $2)", ""), after, listPage))
			return err
		}); err != nil {
			return err
		}
		for _, v := range page {
			after = v.id
			if v.err != nil {
				unreadable = errors.Join(unreadable, v.err)
			} else if !yield(v.m) {
				return nil
			}
		}
		if len(page) < listPage {
			return unreadable
		}
	}
}

// Change implements queue.Operator.
func (s *Store) Change(ctx context.Context, id string, alter func(*queue.EntryView) error) (inFlight int, err error) {
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	err = s.tx(ctx, func(ctx context.Context, tx *transaction) error {
		e := &change{tx: tx, turns: &s.turns}
		if err := e.lock(ctx, id); err != nil {
			return err
		}
		inFlight = e.inFlight()
		m, err := oneView(tx.Query(ctx, fmt.Sprintf(view, "msa_entry", "WHERE e.key = $1"), e.key))
		if err != nil {
			return err
		}
		known := make(map[int]bool)
		for i := range m.Jobs {
			known[m.Jobs[i].Number] = true
		}
		if err := alter(m); err != nil {
			return err
		}
		facts, err := s.rows(m.Facts)
		if err != nil {
			return err
		}
		facts.atCommit(tx)
		e.status = &m.Status
		for i := range m.Jobs {
			j := m.Jobs[i].Clone()
			switch {
			case e.due[j.Number]:
				continue // it is leased
			case j.Number == 0:
				j.Number = e.next
			case !known[j.Number]:
				return fmt.Errorf("entry %s has no job %d", id, j.Number)
			}
			if err := e.put(j); err != nil {
				return err
			}
		}
		return e.finish(false)
	}, nil)
	if err != nil {
		return 0, err
	}
	s.changed()
	return inFlight, nil
}

// Delete implements queue.Operator.
func (s *Store) Delete(ctx context.Context, id string, facts ...journal.Fact) (inFlight int, err error) {
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	err = s.tx(ctx, func(ctx context.Context, tx *transaction) error {
		e := &change{tx: tx, turns: &s.turns}
		if err := e.lock(ctx, id); err != nil {
			return err
		}
		inFlight = e.inFlight()
		waits := facts
		if slices.ContainsFunc(facts, func(f journal.Fact) bool { return len(f.Recipients) > 0 }) { // who made them could read it
			m, err := oneView(tx.Query(ctx, fmt.Sprintf(view, "msa_entry", "WHERE e.key = $1"), e.key))
			if err != nil {
				return err
			}
			waits = m.Waits(facts)
		}
		rows, err := s.rows(waits)
		if err != nil {
			return err
		}
		rows.atCommit(tx)
		e.remove()
		return nil
	}, nil)
	if err != nil {
		return 0, err
	}
	s.changed()
	s.objectsGone()
	return inFlight, nil
}

// Lanes implements queue.Operator.
func (s *Store) Lanes(ctx context.Context, yield func(queue.LaneInfo) bool) error {
	var all []queue.LaneInfo
	err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		all = nil
		rows, err := db.Query(ctx, `SELECT lane, count(*) FILTER (WHERE NOT handed), count(*) FILTER (WHERE handed), min(accepted)
			FROM msa_due WHERE number > 0 AND (handed OR NOT held) GROUP BY lane`)
		if err != nil {
			return err
		}
		var i queue.LaneInfo
		var oldest int64
		_, err = pgx.ForEachRow(rows, []any{&i.Name, &i.Waiting, &i.Leased, &oldest}, func() error {
			i.Oldest = timeOf(oldest)
			all = append(all, i)
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	for _, i := range all {
		if !yield(i) {
			break
		}
	}
	return nil
}

// InLane implements queue.Operator.
func (s *Store) InLane(ctx context.Context, lane, after string, limit int) (ids []string, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		rows, err := db.Query(ctx, `(SELECT DISTINCT id FROM msa_due WHERE owner IS NULL AND NOT held AND lane = $1 AND id > $2 AND number > 0 ORDER BY id LIMIT $3)
			UNION SELECT id FROM msa_due WHERE owner IS NOT NULL AND NOT handed AND NOT held AND lane = $1 AND id > $2 AND number > 0 ORDER BY id LIMIT $3`, lane, after, limit)
		if err != nil {
			return err
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return ids, err
}

// Size implements queue.Operator.
func (s *Store) Size(ctx context.Context) (messages int, octets int64, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		return db.QueryRow(ctx, "SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(octets), 0)::bigint FROM msa_sum").Scan(&messages, &octets)
	})
	return messages, octets, err
}
