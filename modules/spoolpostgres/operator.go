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

// view reads messages in one statement each for entries and jobs, so that they fit together. OFFSET 0 has the planner look jobs up by their keys:
// where statistics know nothing yet it would go over all there is for each page.
const view = `SELECT e.key, e.id, e.entry, e.status, j.number, j.job, coalesce(d.handed, false), coalesce(z.handed, false) FROM %s e
	LEFT JOIN LATERAL (SELECT number, job FROM msa_job WHERE key = e.key OFFSET 0) j ON true
	LEFT JOIN LATERAL (SELECT handed FROM msa_due WHERE key = e.key AND number = j.number OFFSET 0) d ON true
	LEFT JOIN LATERAL (SELECT handed FROM msa_due WHERE key = e.key AND number = 0 OFFSET 0) z ON true %s ORDER BY e.id, j.number`

// viewed is one of them, or why it cannot be read.
type viewed struct {
	id  string
	m   *queue.EntryView
	err error
}

func views(rows pgx.Rows, err error) (all []viewed, err2 error) {
	if err != nil {
		return nil, err
	}
	var key, last int64
	var id string
	var entry, status, job []byte
	var number *int
	var handed, special bool
	_, err = pgx.ForEachRow(rows, []any{&key, &id, &entry, &status, &number, &job, &handed, &special}, func() error {
		if len(all) == 0 || key != last {
			e, st, err := decode(entry, status)
			v := viewed{id: id, err: err}
			if err == nil {
				v.m = &queue.EntryView{Entry: e, Status: *st, StatusLeased: special}
			}
			all, last = append(all, v), key
		}
		v := &all[len(all)-1]
		if job == nil || v.err != nil {
			return nil
		}
		j, err := queue.DecodeJob(job, v.m.Entry)
		if err != nil {
			v.err = err
			return nil
		}
		j.Leased = handed
		v.m.Jobs = append(v.m.Jobs, *j)
		return nil
	})
	for i := range all {
		if v := &all[i]; v.err != nil {
			v.err = fmt.Errorf("entry %s cannot be read: %w", v.id, v.err)
		}
	}
	return all, err
}

// oneView is views of one entry.
func oneView(rows pgx.Rows, err error) (*queue.EntryView, error) {
	all, err := views(rows, err)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, queue.ErrNotFound
	}
	return all[0].m, all[0].err
}

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
