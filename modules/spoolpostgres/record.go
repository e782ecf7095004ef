package spoolpostgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// outcome is a Record that is to be written.
type outcome struct {
	l     *lease
	r     *queue.Record
	facts *factRows
	// ofDeleted are the facts if the operator has deleted the entry.
	ofDeleted *factRows

	taken   bool // the job was still this lease's
	deleted bool
}

// Record implements queue.Lease.
func (l *lease) Record(ctx context.Context, r *queue.Record) (err error) {
	defer func() {
		for _, m := range r.Messages { // those that were committed take no notice
			m.Draft.Abort()
		}
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.s
	if l.ended {
		return queue.ErrLeaseEnded
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	for _, m := range r.Messages {
		if d, ok := m.Draft.(*draft); !ok || d.s != s || d.ended {
			return errEnded
		}
	}
	for i := range r.Messages {
		if err := r.Messages[i].Draft.(*draft).put(ctx, &r.Messages[i].Accept); err != nil {
			return err
		}
	}
	o := &outcome{l: l, r: r}
	if o.facts, err = s.rows(r.Facts); err != nil {
		return err
	}
	if o.ofDeleted, err = s.rows(journal.OfDeleted(r.Facts)); err != nil {
		return err
	}
	err = s.record(ctx, o)
	switch {
	case err == nil && !o.deleted:
		for _, m := range r.Messages {
			m.Draft.(*draft).end()
		}
	case errors.Is(err, errUncertain):
		l.unsure = append(l.unsure, o.facts.texts...)
		return err
	default:
		for _, m := range r.Messages {
			m.Draft.(*draft).unput()
		}
		if err != nil && !errors.Is(err, queue.ErrLost) {
			return err
		}
	}
	l.ended = true
	s.hands.remove(l)
	s.changed()
	s.objectsGone()
	return err
}

// record writes an outcome. Those that come at the same time have one COMMIT.
func (s *Store) record(ctx context.Context, o *outcome) error {
	until := s.until()
	if len(o.r.Messages) == 0 && len(o.l.unsure) == 0 {
		ctx, cancel := context.WithDeadline(ctx, until.Add(-s.timeout/3))
		defer cancel()
		if err := s.records.join(ctx, until, o); !errors.Is(err, errAlone) {
			return s.failed(ctx, err)
		}
	}
	err := s.txUntil(ctx, until, false, func(ctx context.Context, tx *transaction) error { return s.recordAll(ctx, tx, []*outcome{o}) }, nil)
	if err == nil {
		err = o.fared()
	}
	return err
}

// recordGroup writes outcomes together.
func (s *Store) recordGroup(some []*joined[*outcome]) {
	all := make([]*outcome, len(some))
	for i, m := range some {
		all[i] = m.what
	}
	together(s, some, func(ctx context.Context, tx *transaction) error { return s.recordAll(ctx, tx, all) }, (*outcome).fared, nil)
}

// fared is how it fared in a transaction that was committed.
func (o *outcome) fared() error {
	if o.taken || o.deleted {
		return nil
	}
	return queue.ErrLost
}

// Statements about leases that have ended: their entries are locked, then their jobs are taken away, if those still are theirs, and what there is to tell of them is
// written in the journal.
var (
	lockEntries = "SELECT key, status, next, octets FROM msa_entry WHERE key = ANY($1) ORDER BY key FOR UPDATE"
	takeJobs    = `WITH m AS (DELETE FROM msa_due d USING unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS w(key, number, owner, token, n)
		WHERE d.key = w.key AND d.number = w.number AND d.owner IS NOT DISTINCT FROM w.owner AND d.token = w.token RETURNING w.n), ` + insertFacts("m", 5) + " SELECT n FROM m"
)

// recordAll writes outcomes, each of another entry.
func (s *Store) recordAll(ctx context.Context, tx *transaction, all []*outcome) error {
	of := make(map[int64]*change, len(all))
	keys, owners, tokens := make([]int64, len(all)), make([]int64, len(all)), make([]int64, len(all))
	numbers := make([]int32, len(all))
	var facts factRows
	for i, o := range all {
		o.taken, o.deleted = false, false
		keys[i], numbers[i], owners[i], tokens[i] = o.l.key, o.l.number, o.l.owner, o.l.token
		of[o.l.key] = &change{tx: tx, turns: &s.turns, key: o.l.key, entry: o.l.entry}
		if committed, err := o.committed(ctx, tx); err != nil {
			return err
		} else if !committed {
			facts.add(o.facts, i+1)
		}
	}
	b := new(pgx.Batch)
	b.Queue(lockEntries, keys).Query(func(rows pgx.Rows) error {
		var c change
		_, err := pgx.ForEachRow(rows, []any{&c.key, &c.stored, &c.next, &c.octets}, func() (err error) {
			e := of[c.key]
			e.stored, e.next, e.octets = c.stored, c.next, c.octets
			e.status, err = decodeStatus(e.stored)
			return err
		})
		return err
	})
	b.Queue(takeJobs, append([]any{keys, numbers, owners, tokens}, facts.args()...)...).Query(func(rows pgx.Rows) error {
		var n int
		_, err := pgx.ForEachRow(rows, []any{&n}, func() error { all[n-1].taken = true; return nil })
		return err
	})
	queueLockRows(b, of)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	for _, o := range all {
		if err := o.apply(ctx, tx, of[o.l.key]); err != nil {
			return err
		}
	}
	return nil
}

// apply has the entry be what follows.
func (o *outcome) apply(ctx context.Context, tx *transaction, e *change) error {
	l, r := o.l, o.r
	switch {
	case e.status == nil && l.owner == l.s.owner.Load():
		o.deleted = true // by the operator
		if committed, err := o.committed(ctx, tx); err != nil || committed {
			return err
		}
		o.ofDeleted.atCommit(tx)
		return nil
	case e.status == nil || !o.taken:
		return nil
	}
	open := e.open()
	jobs := e.status.Apply(r, l.status, e.next, open)
	for i := range jobs {
		if _, waits := e.due[jobs[i].Number]; jobs[i].Pending() && (jobs[i].Number == 0 || !waits) {
			open++
		}
	}
	if r.Remove && (l.job.Kind != queue.Bury || e.status.Buries(open)) || e.status.Ended(open) {
		e.remove() // nothing is left of its jobs
	} else {
		for i := range jobs {
			if err := e.put(&jobs[i]); err != nil {
				return err
			}
		}
		if err := e.finish(false); err != nil {
			return err
		}
	}
	for i := range r.Messages {
		m, err := r.Messages[i].Draft.(*draft).message(&r.Messages[i].Accept)
		if err != nil {
			return err
		}
		if err := m.store(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// committed tells whether a Record of which nobody could tell was committed after all: then its facts are there.
func (o *outcome) committed(ctx context.Context, tx db) (there bool, err error) {
	if len(o.l.unsure) == 0 {
		return false, nil
	}
	err = tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM msa_fact_key k JOIN msa_fact f ON f.pos = k.pos WHERE k.key = $1 AND f.fact = ANY($2))", hash(o.l.entry.ID), o.l.unsure).Scan(&there)
	return there, err
}
