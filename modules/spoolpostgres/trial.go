package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// fullFor is how long a database is taken for full that has said so, and has taken nothing since.
const fullFor = 30 * time.Second

// trial finds out whether messages would be accepted, for balancers.
type trial struct {
	mu    sync.Mutex
	asked chan struct{} // closed when the write under way has ended; nil: there is none
	err   error         // of the latest

	full   error // what the database said when it had no room
	fullAt time.Time
}

var errUnwritable = errors.New("the database does not commit, or its standby does not follow")

// TryCommit implements queue.Trier: a draft that is large enough for a file, and a transaction that the standby has to confirm. Only one of those is under way at a
// time, and nothing ends it: on the server it would go on.
func (s *Store) TryCommit(ctx context.Context) error {
	d := &draft{s: s}
	defer d.end()
	if _, err := d.Write(make([]byte, threshold+1)); err != nil {
		return fmt.Errorf("the directory for drafts: %w", err)
	}
	t := &s.trial
	t.mu.Lock()
	if t.full != nil && time.Since(t.fullAt) < fullFor {
		defer t.mu.Unlock()
		return t.full
	}
	if t.asked == nil {
		asked := make(chan struct{})
		t.asked = asked
		go func() {
			err := s.vouch(s.life, context.Background())
			t.mu.Lock()
			defer t.mu.Unlock()
			t.err, t.asked = err, nil
			close(asked)
		}()
	}
	asked := t.asked
	t.mu.Unlock()
	select {
	case <-asked:
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.err
	case <-ctx.Done():
		return errUnwritable
	}
}

// vouch commits something that says nothing, with the standby's consent. The COMMIT is done within another context than what comes before it.
func (s *Store) vouch(before, commit context.Context) error {
	conn, err := s.pool.Acquire(before)
	if err != nil {
		return err
	}
	defer conn.Release()
	delete(conn.Conn().PgConn().CustomData(), warned)
	if _, err = conn.Exec(commit, "INSERT INTO msa_sum VALUES (0, 0)"); err == nil && conn.Conn().PgConn().CustomData()[warned] != nil {
		err = errUnwritable
	}
	return err
}

// accepted remembers whether the database has room, which it says in its own way.
func (t *trial) accepted(err error) error {
	var e *pgconn.PgError
	full := errors.As(err, &e) && e.Code == "53100" // disk_full
	if err != nil && !full {
		return err
	}
	if full {
		err = fmt.Errorf("%w: %w", queue.ErrFull, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.full, t.fullAt = err, time.Now()
	return err
}

// Interface guard
var _ queue.Trier = (*Store)(nil)
