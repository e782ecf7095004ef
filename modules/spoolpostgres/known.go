package spoolpostgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	relook    = time.Second      // how old the list of lanes is at most, where that takes a moment
	looks     = 20               // and else so many times as long as it takes,
	lastLook  = 10 * time.Second // if that is not longer than this
	newsLast  = 10 * time.Second // how long a lane is in the list before the transaction must have ended that put a job in it
	firstLook = 4                // jobs of each group in the first scan, when nobody knows how many groups there are
)

// heard is when a job is about to wait in a lane: it need not wait until the lanes are listed again.
func (t *turns) heard(lane string) {
	t.lanesMu.Lock()
	defer t.lanesMu.Unlock()
	t.news[lane], t.anyNews = time.Now(), true
}

// takeHeard adds to the list what was heard since it was made.
func (t *turns) takeHeard() {
	t.lanesMu.Lock()
	defer t.lanesMu.Unlock()
	if !t.anyNews {
		return
	}
	t.anyNews = false
	var more []string
	for lane := range t.news {
		if _, there := slices.BinarySearch(t.known, lane); !there {
			more = append(more, lane)
		}
	}
	if len(more) > 0 {
		t.known = slices.Concat(t.known, more)
		slices.Sort(t.known)
	}
}

// lookBeside lists the lanes while others are claimed from.
func (t *turns) lookBeside(s *Store) {
	defer t.looking.Store(false)
	var known []string
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.life, s.timeout)
	defer cancel()
	if err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) (err error) {
		known, err = lanesWithJobs(ctx, db)
		return err
	}); err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.saw(known, began)
}

// saw notes which lanes have jobs.
func (t *turns) saw(known []string, began time.Time) {
	t.known, t.looked = known, time.Now()
	t.relook = min(max(relook, looks*t.looked.Sub(began)), lastLook)
	t.lanesMu.Lock()
	defer t.lanesMu.Unlock()
	for lane, at := range t.news {
		if at.Before(began.Add(-newsLast)) {
			delete(t.news, lane) // it was there to be seen
		}
	}
	t.anyNews = len(t.news) > 0
}

// look lists the lanes that have jobs.
func (t *turns) look(ctx context.Context, db *pgxpool.Pool) error {
	began := time.Now()
	known, err := lanesWithJobs(ctx, db)
	if err == nil {
		t.saw(known, began)
	}
	return err
}

func lanesWithJobs(ctx context.Context, db *pgxpool.Pool) ([]string, error) {
	rows, err := db.Query(ctx, `WITH RECURSIVE l AS (
		(SELECT lane FROM msa_due WHERE owner IS NULL AND NOT held ORDER BY lane LIMIT 1)
		UNION ALL
		SELECT (SELECT d.lane FROM msa_due d WHERE owner IS NULL AND NOT held AND d.lane > l.lane ORDER BY d.lane LIMIT 1) FROM l WHERE l.lane IS NOT NULL)
		SELECT lane FROM l WHERE lane IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
