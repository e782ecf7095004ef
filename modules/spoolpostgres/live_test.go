//go:build linux

package spoolpostgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// ear is the process of the server that a node listens to.
func ear(t *testing.T, srv *postgres.Server, s *Store) (pid int) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	_ = c.QueryRow(t.Context(), "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND objid = hashtext($2)::int8 & 4294967295 AND mode = 'ShareLock' AND granted",
		nameLock, s.nameKey()).Scan(&pid)
	return pid
}

// A node that hears nothing of the others looks by itself; one whose connection was ended makes another.
func TestDeaf(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	one, two := open(t, Options{DSN: srv.DSN(), Node: "one", Role: Accept}), open(t, Options{DSN: srv.DSN(), Node: "two"})
	defer one.Close()
	defer two.Close()
	n := 0
	delivers := func() {
		t.Helper()
		n++
		id := fmt.Sprint("Q", n)
		if err := submit(one, id); err != nil {
			t.Fatal(err)
		}
		await(t, "a message of the other node", func() bool {
			select {
			case <-two.Notify(): // the queue looks at nothing before it is woken
			case <-time.After(20 * time.Millisecond):
				return false
			}
			l, _, err := two.Lease(t.Context(), time.Now(), queue.Want{})
			if err != nil {
				return false
			}
			defer l.Release()
			return l.Entry().ID == id
		})
		if _, err := two.Delete(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	delivers()
	pid := 0
	await(t, "a connection that listens", func() bool { pid = ear(t, srv, two); return pid != 0 })
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(pid, err)
	}
	delivers()
	_ = syscall.Kill(pid, syscall.SIGCONT)
	srv.Exec(t, "SELECT pg_terminate_backend($1)", pid)
	delivers()
	await(t, "another connection that listens", func() bool { again := ear(t, srv, two); return again != 0 && again != pid })
	delivers()
}

// Nodes that start at once make the tables once, and bring old ones up to date once.
func TestMigratedAtOnce(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	for _, have := range []int{0, 1, len(migrations) / 2, len(migrations) - 1, len(migrations)} {
		schema := fmt.Sprint("v", have)
		if have > 0 {
			c, err := pgx.Connect(t.Context(), srv.DSN())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Exec(t.Context(), fmt.Sprintf("CREATE SCHEMA %[1]s; SET search_path = %[1]s; CREATE TABLE msa_meta (version int NOT NULL); INSERT INTO msa_meta VALUES (%[2]d);", schema, have)+
				strings.Join(migrations[:have], ";")); err != nil {
				t.Fatal(have, err)
			}
			_ = c.Close(t.Context())
		}
		var nodes sync.WaitGroup
		for i := range 3 {
			nodes.Go(func() {
				s, err := Open(context.Background(), Options{DSN: srv.DSN(), Schema: schema, Node: fmt.Sprint("node", i), Pool: 4, Timeout: time.Minute})
				if err != nil {
					t.Errorf("from version %d: %v", have, err)
					return
				}
				if err := submit(s, fmt.Sprint(i)); err != nil {
					t.Errorf("from version %d: %v", have, err)
				}
				_ = s.Close()
			})
		}
		nodes.Wait()
		if n := srv.Exec(t, "SELECT 1 FROM "+schema+".msa_meta WHERE version = $1", len(migrations)); n != 1 {
			t.Errorf("from version %d: %d rows have the newest", have, n)
		}
		if n := srv.Exec(t, "SELECT 1 FROM "+schema+".msa_entry"); n != 3 {
			t.Errorf("from version %d: %d messages", have, n)
		}
	}
}

// A database that was away for a moment only, or was replaced by one whose clock is ahead, is away all the same: nobody takes over before the
// others have had a lease's time to be heard.
func TestDatabaseAwayForAMoment(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	const lease = 9 * time.Second // renewed every three seconds: the database is back before
	p := newProxy(t, &srv.Database)
	other, s := open(t, Options{DSN: p.dsn(), Node: "other", Lease: lease}), open(t, Options{DSN: srv.DSN(), Node: "one", Lease: lease})
	defer other.Close()
	defer s.Close()
	if err := submit(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.Lease(t.Context(), time.Now(), queue.Want{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(lease) // it has been in touch for a whole lease
	p.set(true)       // the other does not come back
	srv.Stop()
	srv.Start()
	back := time.Now()
	srv.Exec(t, "UPDATE msa.msa_node SET until = now() - interval '1 minute' WHERE name = 'other'") // by this server's clock
	await(t, "the takeover", func() bool {
		l, _, err := s.Lease(t.Context(), time.Now(), queue.Want{})
		if err != nil {
			return false
		}
		l.Release()
		return true
	})
	if took := time.Since(back); took < lease-lease/3 {
		t.Errorf("taken over %v after the database came back", took)
	}
}
