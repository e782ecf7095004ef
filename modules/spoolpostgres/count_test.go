//go:build linux

package spoolpostgres

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

func TestCounter(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	msatest.Counter(t, func(t testing.TB) counts.Counter {
		s := open(t, Options{DSN: srv.DSN(), Node: "one"})
		t.Cleanup(func() { _ = s.Close() })
		return s
	})
}

// Who counts waits no longer than its context while the database hangs, and leases are renewed by other connections afterwards.
func TestCountHangs(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	add := func(timeout time.Duration) (int64, error) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		n, err := s.Count(ctx, counts.Change{Key: "k", Add: 1, Keep: time.Hour})
		if err != nil {
			return 0, err
		}
		return n[0].Level, nil
	}
	await(t, "a count", func() bool { _, err := add(bearable); return err == nil })
	srv.Signal(syscall.SIGSTOP)
	for i := range 3 * countConns {
		began := time.Now()
		if _, err := add(100 * time.Millisecond); err == nil {
			t.Error("counted by a server that is stopped")
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("count %d took %v", i, took)
		}
	}
	if n := s.quick.Stat().TotalConns(); n > 4 {
		t.Errorf("%d connections of the leases'", n)
	}
	srv.Signal(syscall.SIGCONT)
	await(t, "counts again", func() bool { _, err := add(bearable); return err == nil })
}

// Counts that have passed are deleted, and of too many those that would end first.
func TestCountsBounded(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	ctx := context.Background()
	for i := range 20 {
		if _, err := s.Count(ctx, counts.Change{Key: fmt.Sprint(i), Add: 1, Keep: time.Hour + time.Duration(i)*time.Minute}, counts.Change{Key: fmt.Sprint("passes", i), Add: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.forgetCounts(ctx, 15); err != nil {
		t.Fatal(err)
	}
	if n := srv.Exec(t, "SELECT 1 FROM msa.msa_count"); n != 15 {
		t.Errorf("%d counts", n)
	}
	if n := srv.Exec(t, "SELECT 1 FROM msa.msa_count WHERE key IN ('19', '5')"); n != 2 {
		t.Errorf("%d of those that last longest", n)
	}
}
