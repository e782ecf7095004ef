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

// view reads messages in one statement each for entries and jobs, so that they fit together.
const view = `SELECT e.key, e.entry, e.status, j.number, j.job, coalesce(d.handed, false),
	EXISTS (SELECT 1 FROM msa_due z WHERE z.key = e.key AND z.number = 0 AND z.handed) FROM %s e
	LEFT JOIN msa_job j ON j.key = e.key LEFT JOIN msa_due d ON d.key = j.key AND d.number = j.number %s ORDER BY e.id, j.number`

func views(rows pgx.Rows, err error) (all []*queue.EntryView, err2 error) {
	if err != nil {
		return nil, err
	}
	var key, last int64
	var entry, status, job []byte
	var number *int
	var handed, special bool
	_, err = pgx.ForEachRow(rows, []any{&key, &entry, &status, &number, &job, &handed, &special}, func() error {
		if len(all) == 0 || key != last {
			e, st, err := decode(entry, status)
			if err != nil {
				return err
			}
			all, last = append(all, &queue.EntryView{Entry: e, Status: *st, StatusLeased: special}), key
		}
		if job == nil {
			return nil
		}
		m := all[len(all)-1]
		j, err := queue.DecodeJob(job, m.Entry)
		if err != nil {
			return err
		}
		j.Leased = handed
		m.Jobs = append(m.Jobs, *j)
		return nil
	})
	return all, err
}

// Get implements queue.Operator.
func (s *Store) Get(ctx context.Context, id string) (m *queue.EntryView, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		all, err := views(db.Query(ctx, fmt.Sprintf(view, "msa_entry", "WHERE e.id = $1"), id))
		if err == nil && len(all) == 0 {
			return queue.ErrNotFound
		}
		if err == nil {
			m = all[0]
		}
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

// List implements queue.Operator.
func (s *Store) List(ctx context.Context, after string, yield func(*queue.EntryView) bool) error {
	for {
		var page []*queue.EntryView
		if err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) (err error) {
			page, err = views(db.Query(ctx, fmt.Sprintf(view, "(SELECT * FROM msa_entry WHERE id > $1 ORDER BY id LIMIT $2)", ""), after, listPage))
			return err
		}); err != nil {
			return err
		}
		for _, m := range page {
			after = m.Entry.ID
			if !yield(m) {
				return nil
			}
		}
		if len(page) < listPage {
			return nil
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
		all, err := views(tx.Query(ctx, fmt.Sprintf(view, "msa_entry", "WHERE e.key = $1"), e.key))
		if err != nil {
			return err
		}
		m := all[0]
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
			all, err := views(tx.Query(ctx, fmt.Sprintf(view, "msa_entry", "WHERE e.key = $1"), e.key))
			if err != nil {
				return err
			}
			waits = all[0].Waits(facts)
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
