package spoolpostgres

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

const (
	keepEvery  = 10 * time.Second // the limits are looked after
	noteEvery  = time.Second      // notes are written
	forgetting = 1000             // facts that are forgotten in one transaction
	purging    = 1000             // facts that Purge looks at in one
)

// Note implements journal.Noter.
func (s *Store) Note(facts ...journal.Fact) { s.facts.notes.Add(time.Now(), facts...) }

// keepJournal writes notes, and forgets what is beyond the limits, until the spool is closed.
func (s *Store) keepJournal() {
	tick := time.NewTicker(noteEvery)
	defer tick.Stop()
	var kept time.Time
	failed := false
	for {
		kicked := false
		select {
		case <-s.ended:
			return
		case <-s.facts.kick:
			kicked = true
		case <-tick.C:
		}
		s.writeNotes(s.life)
		s.facts.claims.giveBack(s)
		if !kicked && time.Since(kept) < s.keepEvery {
			continue
		}
		err := s.forget(s.life)
		if err != nil && !failed && !s.closed() {
			s.log.Warn("the journal's limits were not looked after", zap.Error(err))
		}
		failed = err != nil
		kept = time.Now()
	}
}

// writeNotes has notes written; those that the database does not take wait, and what comes meanwhile is dropped.
func (s *Store) writeNotes(ctx context.Context) {
	f := &s.facts
	if len(f.unsaid) == 0 {
		f.unsaid = f.notes.Take()
	}
	if len(f.unsaid) == 0 {
		return
	}
	rows, err := s.rows(f.unsaid)
	if err != nil {
		f.notes.Drop(len(f.unsaid))
		f.unsaid = nil
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if len(rows.times) > 0 {
		if _, err = s.pool.Exec(ctx, addFacts, rows.args()...); err != nil {
			return
		}
	}
	f.unsaid = nil
}

// lastNotes are written when the spool is closed.
func (s *Store) lastNotes(ctx context.Context) {
	s.writeNotes(ctx)
	if len(s.facts.unsaid) == 0 { // what waited behind those that were tried before
		s.writeNotes(ctx)
	}
}

// keeping runs f where no other node keeps the journal at the same time.
func (s *Store) keeping(ctx context.Context, f func(ctx context.Context, tx pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return pgx.BeginFunc(ctx, s.quick, func(tx pgx.Tx) error {
		var mine bool
		err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1 + 5, hashtext($2))", int32(migrateLock), s.schema).Scan(&mine)
		if err != nil || !mine {
			return err
		}
		return f(ctx, tx)
	})
}

// forget sums up what has come, and takes away what is beyond the limits: many small transactions, so that nobody waits for them.
func (s *Store) forget(ctx context.Context) error {
	l := s.facts.limits.Load()
	sure, _, err := s.facts.horizon.look(ctx, s.quick)
	if err != nil {
		return err
	}
	if err := s.keeping(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE msa_journal j SET facts = j.facts + n.facts, octets = j.octets + n.octets, counted = $1
			FROM (SELECT count(*) AS facts, coalesce(sum(octets), 0) AS octets FROM msa_fact WHERE pos > (SELECT counted FROM msa_journal) AND pos <= $1) n
			WHERE j.counted < $1`, sure)
		return err
	}); err != nil {
		return err
	}
	for l != nil && l == s.facts.limits.Load() && !s.closed() {
		more := false
		if err := s.keeping(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
			more, err = forgetSome(ctx, tx, l)
			return err
		}); err != nil || !more {
			return err
		}
	}
	return nil
}

// forgetSome takes away the oldest facts, and tells whether there may be more to take.
func forgetSome(ctx context.Context, tx pgx.Tx, l *journal.Limits) (more bool, err error) {
	var counted, octets, heard, oldest int64
	err = tx.QueryRow(ctx, `SELECT counted, octets, coalesce((SELECT min(pos) FROM msa_cursor), $1),
		coalesce((SELECT time FROM msa_fact ORDER BY pos LIMIT 1), $1) FROM msa_journal FOR UPDATE`, int64(never)).Scan(&counted, &octets, &heard, &oldest)
	if err != nil {
		return false, err
	}
	old := int64(always)
	if l.Keep > 0 {
		old = nanos(time.Now().Add(-l.Keep))
	}
	if oldest >= old && (l.MaxSize == 0 || octets <= l.MaxSize) {
		return false, nil
	}
	rows, err := tx.Query(ctx, "SELECT pos, time, octets, keys FROM msa_fact WHERE pos <= $1 ORDER BY pos LIMIT $2", counted, forgetting)
	if err != nil {
		return false, err
	}
	var at, when, size, freed int64
	var keys, theirs, all, places []int64 // of each fact; key by key; fact by fact
	seen, ends := 0, false
	_, err = pgx.ForEachRow(rows, []any{&at, &when, &size, &keys}, func() error {
		seen++
		beyond, most := when < old, l.MaxSize
		if at > heard { // a follower has not heard of it
			beyond, most = false, 2*most
		}
		if ends = ends || !beyond && (most == 0 || octets-freed <= most); ends {
			return nil
		}
		freed += size
		all = append(all, at)
		for _, key := range keys {
			theirs, places = append(theirs, key), append(places, at)
		}
		return nil
	})
	if err != nil || len(all) == 0 {
		return false, err
	}
	b := new(pgx.Batch)
	for _, plan := range []string{"seqscan", "hashjoin", "mergejoin"} { // they would go over all there is
		b.Queue("SET LOCAL enable_" + plan + " = off")
	}
	b.Queue("DELETE FROM msa_fact WHERE pos = ANY($1)", all)
	b.Queue("DELETE FROM msa_fact_key x USING unnest($1::bigint[], $2::bigint[]) AS w(key, pos) WHERE x.key = w.key AND x.pos = w.pos", theirs, places)
	b.Queue("UPDATE msa_journal SET facts = facts - $1, octets = octets - $2", len(all), freed)
	return !ends && seen == forgetting, tx.SendBatch(ctx, b).Close()
}

// SetLimits implements journal.Keeper.
func (s *Store) SetLimits(l journal.Limits) {
	s.facts.limits.Store(&l)
	s.facts.notes.SetLimits(l)
	s.kickJournal()
}

// Stat implements journal.Keeper.
func (s *Store) Stat(ctx context.Context) (stat journal.Stat, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		_, latest, err := s.facts.horizon.look(ctx, db)
		if err != nil {
			return err
		}
		sure, err := s.facts.horizon.beyond(ctx, db, latest-1)
		if err != nil {
			return err
		}
		var oldest *int64
		var last int64
		err = db.QueryRow(ctx, `SELECT j.facts + n.facts, j.octets + n.octets, (SELECT time FROM msa_fact ORDER BY pos LIMIT 1), coalesce((SELECT max(pos) FROM msa_fact), 0)
			FROM msa_journal j, LATERAL (SELECT count(*) AS facts, coalesce(sum(octets), 0)::bigint AS octets FROM msa_fact WHERE pos > j.counted) n`).Scan(&stat.Facts, &stat.Octets, &oldest, &last)
		if sure == 0 { // somebody has been writing since before this node looked first
			sure = last
		}
		stat.End = position(sure)
		if err == nil && oldest != nil {
			stat.Oldest = timeOf(*oldest)
		}
		return err
	})
	noted := s.facts.notes.Stat()
	stat.Dropped, stat.Waiting, stat.Since = noted.Dropped, noted.Waiting, noted.Since
	return stat, err
}

// Purge implements journal.Keeper. It reads all facts, since texts name addresses as well.
func (s *Store) Purge(ctx context.Context, address string) (n int, err error) {
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	for after, more := int64(0), true; more; {
		var changed int
		var last int64
		err := s.tx(ctx, func(ctx context.Context, tx *transaction) (err error) {
			changed, last, err = purgeSome(ctx, tx, address, after)
			return err
		}, nil)
		if err != nil {
			return n, err
		}
		n += changed
		more, after = last > 0, last
	}
	return n, nil
}

// purgeSome does so in the next facts, and returns where they end; 0: there are none.
func purgeSome(ctx context.Context, tx db, address string, after int64) (changed int, last int64, err error) {
	rows, err := tx.Query(ctx, "SELECT pos, keys, fact FROM msa_fact WHERE pos > $1 ORDER BY pos LIMIT $2", after, purging)
	if err != nil {
		return 0, 0, err
	}
	b := new(pgx.Batch)
	var keys []int64
	var text string
	_, err = pgx.ForEachRow(rows, []any{&last, &keys, &text}, func() error {
		f, err := readFact(last, text)
		if err != nil || !f.Forget(address) {
			return err
		}
		without, err := json.Marshal(f)
		if err != nil {
			return err
		}
		now := hashes(f)
		changed++
		b.Queue(`WITH f AS (UPDATE msa_fact SET fact = $2, keys = $3 WHERE pos = $1 RETURNING pos),
			k AS (DELETE FROM msa_fact_key WHERE pos = $1 AND key = ANY($4) AND NOT key = ANY($3))
			INSERT INTO msa_fact_key (key, pos) SELECT unnest($3::bigint[]), pos FROM f ON CONFLICT DO NOTHING`, last, string(without), now, keys) // f: it may be forgotten by now
		return nil
	})
	if err != nil || changed == 0 {
		return 0, last, err
	}
	return changed, last, tx.SendBatch(ctx, b).Close()
}

// Cursor implements journal.Cursors.
func (s *Store) Cursor(ctx context.Context, name string) (p journal.Position, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		var at int64
		err := db.QueryRow(ctx, "SELECT pos FROM msa_cursor WHERE name = $1", name).Scan(&at)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		p = position(at)
		return err
	})
	return p, err
}

// SetCursor implements journal.Cursors.
func (s *Store) SetCursor(ctx context.Context, name string, p journal.Position) error {
	at, err := placeIn(p)
	if err != nil {
		return err
	}
	err = s.ask(ctx, func(ctx context.Context, _ *pgxpool.Pool) error {
		_, err := s.pool.Exec(ctx, "INSERT INTO msa_cursor (name, pos) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET pos = excluded.pos", name, at)
		return err
	})
	s.kickJournal()
	return err
}

// CursorNames implements journal.CursorLister.
func (s *Store) CursorNames(ctx context.Context, prefix string) (names []string, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		rows, err := db.Query(ctx, "SELECT name FROM msa_cursor WHERE starts_with(name, $1) ORDER BY name", prefix)
		if err == nil {
			names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		return err
	})
	return names, err
}

// DropCursor implements journal.Cursors.
func (s *Store) DropCursor(ctx context.Context, name string) error {
	err := s.ask(ctx, func(ctx context.Context, _ *pgxpool.Pool) error {
		_, err := s.pool.Exec(ctx, "DELETE FROM msa_cursor WHERE name = $1", name)
		return err
	})
	s.kickJournal()
	return err
}
