package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// tries is how often a transaction is begun again that has certainly left nothing behind.
const tries = 4

// errUncertain says that nobody could tell whether a transaction was committed.
var errUncertain = errors.New("the database did not say whether it committed")

// warned is where a connection remembers that COMMIT came with a warning.
const warned = "msa.warned"

// dialOnce has a connection dial for itself alone: pgx sends a cancel request over a second one
// when the first breaks, and a COMMIT that waits for its standby would end by it.
func dialOnce(_ context.Context, c *pgx.ConnConfig) error {
	var connected atomic.Bool
	dial, after := c.DialFunc, c.AfterConnect
	c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if connected.Load() {
			return nil, net.ErrClosed
		}
		return dial(ctx, network, addr)
	}
	c.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		connected.Store(true)
		if after != nil {
			return after(ctx, conn)
		}
		return nil
	}
	return nil
}

func onNotice(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" {
		conn.CustomData()[warned] = true
	}
}

// again tells whether a transaction that failed before its COMMIT may go better when it is tried again.
func again(err error) bool {
	if errors.Is(err, errAborted) {
		return true
	}
	if errors.Is(err, errUncertain) {
		return false
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && broken(err)
	}
	switch e.Code {
	case "40001", "40P01", "57P01", "57P02": // serialization, deadlock, shutdown, crash of another session
		return true
	}
	return false
}

// isLockTimeout tells whether a group's transaction had to wait for somebody else for too long.
func isLockTimeout(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "55P03"
}

// broken tells whether err is the connection's, rather than one of ours.
func broken(err error) bool {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return false // there is no server: the caller hears so at once
	}
	var n net.Error
	return errors.As(err, &n) || pgconn.SafeToRetry(err) || isEOF(err)
}

// tx runs f in a transaction of which it is certain, when it returns nil, that it was committed. f may be
// run several times. It takes no longer than the timeout, of which f has the first two thirds; COMMIT itself goes on until it ends. present tells, for
// the case that the server has restarted, whether what f wrote can be seen; it may be nil.
func (s *Store) tx(ctx context.Context, f func(ctx context.Context, tx *transaction) error, present func(context.Context) (bool, error)) (err error) {
	return s.txUntil(ctx, s.until(), false, f, present)
}

// until is when a transaction must have ended that begins now.
func (s *Store) until() time.Time { return time.Now().Add(s.timeout) }

// txUntil is tx with another end. One of a group waits for no lock for long.
func (s *Store) txUntil(ctx context.Context, until time.Time, grouped bool, f func(ctx context.Context, tx *transaction) error, present func(context.Context) (bool, error)) (err error) {
	ctx, cancel := context.WithDeadline(ctx, until.Add(-s.timeout/3))
	defer cancel()
	for range tries {
		if err = s.once(ctx, until, grouped, f, present); err == nil || !again(err) || ctx.Err() != nil {
			break
		}
		s.refresh(s.pool, err)
	}
	return s.failed(ctx, err)
}

// failed says closed for what failed because the spool was closed.
func (s *Store) failed(ctx context.Context, err error) error {
	if err != nil && s.closed() {
		return closedError(err)
	}
	return err
}

func (s *Store) once(ctx context.Context, until time.Time, grouped bool, f func(context.Context, *transaction) error, present func(context.Context) (bool, error)) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	t := &transaction{conn: conn, grouped: grouped}
	if err = f(ctx, t); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = t.begin(ctx)
	}
	if err != nil {
		back, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		_, _ = conn.Exec(back, "rollback")
		done()
		conn.Release()
		return err
	}
	delete(conn.Conn().PgConn().CustomData(), warned)
	result := make(chan error, 1)
	go func() { // no context ends a COMMIT
		err := t.commit(context.Background())
		if err == nil && conn.Conn().PgConn().CustomData()[warned] != nil {
			err = errUncertain
		}
		conn.Release()
		result <- err
	}()
	wait := time.NewTimer(time.Until(until))
	defer wait.Stop()
	select {
	case err = <-result:
	case <-wait.C:
		s.lateCommit(result)
		return errUncertain
	}
	if err == nil {
		return nil
	}
	var e *pgconn.PgError
	if errors.Is(err, pgx.ErrTxCommitRollback) || errors.As(err, &e) && e.SeverityUnlocalized == "ERROR" {
		return err
	}
	return s.decide(until, t.xid, t.started, present, err)
}

// decide asks what became of a transaction whose COMMIT got no answer, or one with a warning.
func (s *Store) decide(until time.Time, xid, started string, present func(context.Context) (bool, error), cause error) error {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	for ctx.Err() == nil {
		var status *string
		var restarted bool
		err := s.quick.QueryRow(ctx, "SELECT pg_xact_status($1::text::xid8), pg_postmaster_start_time()::text <> $2", xid, started).Scan(&status, &restarted)
		var e *pgconn.PgError
		switch {
		case errors.As(err, &e) && e.Code == "22023": // in the future: it was forgotten in a crash
			return fmt.Errorf("%w: %w", errAborted, cause)
		case err != nil:
		case status == nil:
			return fmt.Errorf("%w: %w", errUncertain, cause)
		case *status == "committed":
			// After a crash the number may be another transaction's: what is there was committed.
			there := !restarted
			if restarted && present != nil {
				if there, err = present(ctx); err != nil {
					break
				}
			}
			if !there || !s.replicated(ctx) {
				return fmt.Errorf("%w: %w", errUncertain, cause)
			}
			return nil
		case *status == "aborted":
			return fmt.Errorf("%w: %w", errAborted, cause)
		}
		select {
		case <-ctx.Done():
		case <-s.ended:
			return fmt.Errorf("%w: %w", errUncertain, cause)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("%w: %w", errUncertain, cause)
}

// replicated makes sure that the standby has what is committed here: a COMMIT that was cut short by a crash or a
// shutdown stands without it, and would be gone after a failover. What is committed after it, with the standby's
// consent, vouches for it.
func (s *Store) replicated(ctx context.Context) bool {
	return s.vouch(ctx, ctx) == nil
}

var errAborted = errors.New("the database was lost before it committed")

// ask runs f on a connection whose commits need not be durable, and again if that was broken: f
// does no harm when it is run twice.
func (s *Store) ask(ctx context.Context, f func(ctx context.Context, db *pgxpool.Pool) error) (err error) {
	if err := s.check(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for range tries {
		if err = f(ctx, s.quick); err == nil || !again(err) || ctx.Err() != nil {
			break
		}
		s.refresh(s.quick, err)
	}
	return s.failed(ctx, err)
}

// refresh gives up connections that are likely to be those of a server that has been restarted.
func (s *Store) refresh(p *pgxpool.Pool, err error) {
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code == "57P01" || e.Code == "57P02" {
		p.Reset()
	}
}
