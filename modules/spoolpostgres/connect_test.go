//go:build linux

package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// Time limits that the role or the database has for other programs end nothing of ours: neither a COMMIT that waits for its
// standby, nor a connection that listens.
func TestSettingsOfRole(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	limits := []string{"statement_timeout", "lock_timeout", "idle_session_timeout"}
	for _, of := range []string{"ROLE msa", "DATABASE postgres", "ROLE msa IN DATABASE postgres"} {
		for _, name := range append(limits, "idle_in_transaction_session_timeout") {
			srv.Exec(t, fmt.Sprintf("ALTER %s SET %s = '2s'", of, name))
		}
		srv.Exec(t, fmt.Sprintf("ALTER %s SET default_transaction_isolation = 'serializable'", of))
	}
	s := open(t, Options{DSN: srv.DSN() + "&statement_timeout=1s&options=-c%20lock_timeout%3D1s", Node: "one"})
	defer s.Close()
	ear, err := s.attend(t.Context(), s.pool.Config().ConnConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.dismiss(ear)
	show := func(of string, ask func(name string) (string, error)) {
		t.Helper()
		for _, name := range limits {
			if got, err := ask(name); got != "0" || err != nil {
				t.Errorf("%s: %s is %s (%v)", of, name, got, err)
			}
		}
		if got, err := ask("default_transaction_isolation"); got != "read committed" || err != nil {
			t.Errorf("%s: isolation %s (%v)", of, got, err)
		}
		if got, err := ask("idle_in_transaction_session_timeout"); got != "1min" || err != nil {
			t.Errorf("%s: a transaction may idle for %s (%v)", of, got, err)
		}
	}
	for of, pool := range map[string]*pgxpool.Pool{"durable": s.pool, "quick": s.quick, "counts": s.counts} {
		show(of, func(name string) (value string, err error) {
			err = pool.QueryRow(t.Context(), "SHOW "+name).Scan(&value)
			return value, err
		})
	}
	show("ear", func(name string) (value string, err error) {
		err = ear.QueryRow(t.Context(), "SHOW "+name).Scan(&value)
		return value, err
	})
	// transaction_timeout is of version 17 and later: what is not known is not set, and what is, is.
	if !strings.Contains(suitability, "'transaction_timeout'") {
		t.Error("transaction_timeout is left as it is")
	}
}

// A server that has become unfit since the spool was opened gets no new connection: the standby of before, that was made the primary with
// settings of its own, or a role that was altered.
func TestUnfitLater(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one", Timeout: time.Minute})
	defer s.Close()
	if err := submit(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	srv.Exec(t, "ALTER ROLE msa SET synchronous_commit = off")
	s.pool.Reset()
	if err := submit(s, "Q2"); !errors.Is(err, errCommit) {
		t.Errorf("with synchronous_commit off: %v", err)
	}
	srv.Exec(t, "ALTER ROLE msa RESET synchronous_commit")
	srv.Stop()
	srv.Start("fsync=off")
	await(t, "that it is refused", func() bool { return errors.Is(submit(s, "Q3"), errFsync) })
	srv.Stop()
	srv.Start()
	await(t, "that it is taken again", func() bool { return submit(s, "Q4") == nil })
	if got := strings.Join(ids(t, s), " "); got != "Q1 Q4" {
		t.Error(got)
	}
}

// Of several hosts the primary is found, and after a failover the new one, without target_session_attrs too: a standby
// that is asked what became of a COMMIT would not know of it.
func TestFindsPrimary(t *testing.T) {
	t.Parallel()
	primary := postgres.Start(t)
	standby := primary.Standby()
	if s, err := Open(context.Background(), Options{DSN: standby.DSN(), Node: "one"}); err == nil || !errors.Is(err, errStandby) && !strings.Contains(err.Error(), errStandby.Error()) {
		t.Errorf("a standby: %v, %v", s, err)
	}
	dsn := fmt.Sprintf("postgres://msa@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable", standby.Port, primary.Port)
	s := open(t, Options{DSN: dsn, Node: "one", Timeout: time.Minute})
	defer s.Close()
	if err := submit(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	primary.Kill()
	if err := submit(s, "Q2"); !errors.Is(err, errStandby) {
		t.Errorf("there is a standby only: %v", err)
	}
	standby.Promote()
	await(t, "that the new primary is found", func() bool { return submit(s, "Q3") == nil })
	if got := strings.Join(ids(t, s), " "); got != "Q1 Q3" {
		t.Error(got)
	}
}

// The tables are made in a database whose objects have numbers beyond those of an int, and found there again.
func TestOldDatabase(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	srv.Aged(3_000_000_000)
	for range 2 {
		_ = open(t, Options{DSN: srv.DSN(), Node: "one"}).Close()
	}
}
