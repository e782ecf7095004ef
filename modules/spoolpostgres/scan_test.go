//go:build linux

package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Where nine of ten lanes are down, what is ready is found and not filtered: what it takes to claim some and to record them is a part of what
// waits, and of what is in hand. BenchmarkLarge says how long that takes.
func TestFindsWhatIsReady(t *testing.T) {
	t.Parallel()
	const messages, lanes, most = 20_000, 1000, 20_000 / 10
	srv := postgres.Shared(t)
	first := open(t, Options{DSN: srv.DSN(), Node: "one"})
	_ = first.Close()
	fill(t, srv, messages, lanes, 50)
	began := readOfDue(t, srv)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	for i := range lanes {
		if i%10 != 0 {
			s.SetLane(fmt.Sprint("lane", i), queue.LaneState{Proven: true})
		} else {
			s.SetLane(fmt.Sprint("lane", i), queue.LaneState{Limit: 20, Proven: true})
		}
	}
	leased := 0
	var recorded sync.WaitGroup
	for range 60 * batch {
		l, _, err := s.Lease(context.Background(), time.Now(), queue.Want{})
		if errors.Is(err, queue.ErrNoneDue) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		leased++
		if leased > 30*batch { // beside as many that stay in hand
			recorded.Go(func() {
				j := l.Job().Clone()
				j.Recipients[0].State = queue.Delivered
				if err := l.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}); err != nil {
					t.Error(err)
				}
			})
		}
		if leased == 1 {
			s.turns.mu.Lock()
			s.turns.relook = time.Hour // the list of lanes is made by the clock, not by claims
			s.turns.mu.Unlock()
		}
	}
	recorded.Wait()
	_ = s.Close()
	read := readOfDue(t, srv) - began
	if leased != 60*batch {
		t.Errorf("%d leased", leased)
	}
	if each := read / 60; each > most {
		t.Errorf("a claim of %d reads %d rows of %d", batch, each, messages)
	} else {
		t.Logf("a claim of %d reads %d rows of %d", batch, each, messages)
	}
}

// To look after a message costs no more where there are many.
func TestChecksByKey(t *testing.T) {
	t.Parallel()
	const messages, most = 1000, 10
	srv := postgres.Shared(t)
	first := open(t, Options{DSN: srv.DSN(), Node: "one"})
	_ = first.Close()
	fill(t, srv, messages, 10, 10)
	srv.Exec(t, "INSERT INTO msa.msa_body SELECT key, 0, convert_to(repeat('a', 4096), 'UTF8') FROM msa.msa_entry")
	began := readOfDue(t, srv)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	n, _, err := s.Check(context.Background(), func(int) {}, func(id, problem string) { t.Error(id, problem) })
	_ = s.Close()
	if n != messages || err != nil {
		t.Error(n, err)
	}
	if each := (readOfDue(t, srv) - began) / messages; each > most {
		t.Errorf("a message reads %d rows of %d", each, messages)
	}
}

// A page of the queue is found by its keys, where statistics know nothing of a queue that has just grown too.
func TestListsByKey(t *testing.T) {
	t.Parallel()
	const messages, most = 2000, 10
	srv := postgres.Shared(t)
	first := open(t, Options{DSN: srv.DSN(), Node: "one"})
	_ = first.Close()
	fill(t, srv, messages, 10, 10)
	srv.Exec(t, "DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relname LIKE 'msa_%')")
	srv.Exec(t, "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname LIKE 'msa_%'")
	began := readOfDue(t, srv) + readOf(t, srv, "msa_job")
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	n := 0
	err := s.List(context.Background(), "", func(*queue.EntryView) bool { n++; return true })
	_ = s.Close()
	if n != messages || err != nil {
		t.Error(n, err)
	}
	if each := (readOfDue(t, srv) + readOf(t, srv, "msa_job") - began) / messages; each > most {
		t.Errorf("a message reads %d rows of %d", each, messages)
	}
}

// readOfDue is readOf what is due.
func readOfDue(t *testing.T, srv *postgres.Database) int64 {
	t.Helper()
	return readOf(t, srv, "msa_due")
}

// readOf is how many rows of a table were read since the database was made. Sessions tell what they read when they have ended.
func readOf(t *testing.T, srv *postgres.Database, table string) int64 {
	t.Helper()
	c, err := pgx.Connect(context.Background(), srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	var rows int64 = -1
	await(t, "statistics", func() bool {
		last := rows
		var others int
		if err := c.QueryRow(context.Background(), `SELECT (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = $1)
			+ (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = $1),
			(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid())`, table).Scan(&rows, &others); err != nil {
			t.Fatal(err)
		}
		return rows == last && others == 0
	})
	return rows
}

// A lane in which this node puts a job is in the list before it is made again, and stays there while a list may have missed it.
func TestLanesHeardOf(t *testing.T) {
	t.Parallel()
	turns := new(turns)
	turns.init()
	now := time.Now()
	turns.saw([]string{"a", "c"}, now)
	turns.heard("b")
	turns.heard("c")
	turns.takeHeard()
	if want := []string{"a", "b", "c"}; !slices.Equal(turns.known, want) {
		t.Errorf("%q, want %q", turns.known, want)
	}
	turns.saw([]string{"a"}, now) // the transactions had not ended
	turns.takeHeard()
	if want := []string{"a", "b", "c"}; !slices.Equal(turns.known, want) {
		t.Errorf("%q, want %q", turns.known, want)
	}
	turns.saw([]string{"a"}, now.Add(2*newsLast)) // and now they have
	turns.takeHeard()
	if want := []string{"a"}; !slices.Equal(turns.known, want) || len(turns.news) != 0 {
		t.Errorf("%q, want %q", turns.known, want)
	}
}
