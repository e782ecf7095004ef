//go:build linux

package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// submitFact accepts a message, with one fact.
func submitFact(s *Store, id string) error {
	d, err := s.Create(context.Background())
	if err != nil {
		return err
	}
	defer d.Abort()
	a := accept(id)
	a.Facts = []journal.Fact{rateFact(journal.Accepted, a.Entry)}
	return d.Commit(context.Background(), a)
}

// followFrom returns the facts after a place, as kind and id, and where they end.
func followFrom(t *testing.T, s *Store, after journal.Position) (all []string, end journal.Position) {
	t.Helper()
	for end = after; ; {
		facts, err := s.Follow(context.Background(), end, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(facts) == 0 {
			return all, end
		}
		for i := range facts {
			all = append(all, fmt.Sprint(facts[i].What, " ", facts[i].ID))
		}
		end = facts[len(facts)-1].Position
	}
}

// session is a connection of somebody else's, in a transaction.
func session(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	execOn(t, c, "BEGIN")
	return c
}

func execOn(t *testing.T, c *pgx.Conn, statement string) {
	t.Helper()
	if _, err := c.Exec(context.Background(), statement); err != nil {
		t.Fatal(err)
	}
}

// What commits late is told late, and nothing that got its position after it is told before; transactions that write no
// facts, here or in another database, hold up nothing.
func TestFollowWaits(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	for _, db := range []*postgres.Database{srv, postgres.Shared(t)} {
		execOn(t, session(t, db.DSN()), "CREATE TABLE busy ()") // and it stays open
	}
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	if err := submitFact(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	got, at := followFrom(t, s, "")
	if !slices.Equal(got, []string{"accepted Q1"}) {
		t.Fatalf("%q", got)
	}
	late, lost := session(t, srv.DSN()), session(t, srv.DSN())
	for _, c := range []*pgx.Conn{late, lost} {
		execOn(t, c, `INSERT INTO msa.msa_fact (time, what, keys, octets, fact) VALUES (0, 'held', '{}', 1, '{"time":"2026-05-04T12:00:00Z","what":"held","id":"L1"}')`)
	}
	if err := submitFact(s, "Q2"); err != nil {
		t.Fatal(err)
	}
	if got, _ := followFrom(t, s, at); len(got) != 0 {
		t.Fatalf("%q, before what is being written", got)
	}
	two := open(t, Options{DSN: srv.DSN(), Node: "two"})
	defer two.Close()
	if stat, err := two.Stat(context.Background()); err != nil || stat.End == "" || stat.Facts != 2 {
		t.Errorf("%+v, %v", stat, err)
	}
	execOn(t, lost, "ROLLBACK")
	if got, _ := followFrom(t, s, at); len(got) != 0 {
		t.Fatalf("%q, before what is being written", got)
	}
	execOn(t, late, "COMMIT")
	got, at = followFrom(t, s, at)
	if !slices.Equal(got, []string{"held L1", "accepted Q2"}) {
		t.Fatalf("%q", got)
	}
	if stat, err := two.Stat(context.Background()); err != nil || stat.End != at || stat.Facts != 3 {
		t.Errorf("%+v, %v; wanted the end %s", stat, err, at)
	}
}

// A place is good after a crash, on the standby and in a copy of the database, where nothing new comes before it.
func TestPositionsSurvive(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	standby := srv.Standby()
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	if err := submitFact(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	_, at := followFrom(t, s, "")
	if err := s.SetCursor(context.Background(), "hook", at); err != nil {
		t.Fatal(err)
	}
	if err := submitFact(s, "Q2"); err != nil {
		t.Fatal(err)
	}
	goesOn := func(s *Store, id string, jumps bool, want ...string) {
		t.Helper()
		if p, err := s.Cursor(context.Background(), "hook"); p != at || err != nil {
			t.Fatalf("the cursor is at %q, %v; wanted %q", p, err, at)
		}
		last, err := s.Stat(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := submitFact(s, id); err != nil {
			t.Fatal(err)
		}
		got, end := followFrom(t, s, at)
		if !slices.Equal(got, want) {
			t.Fatalf("%q, wanted %q", got, want)
		}
		before, _ := placeIn(last.End)
		after, _ := placeIn(end)
		if jump := after-before > 1<<31; after <= before || jump != jumps {
			t.Errorf("from %d on to %d", before, after)
		}
	}
	goesOn(s, "Q3", false, "accepted Q2", "accepted Q3")
	_ = s.Close()
	srv.Kill()
	standby.Promote()
	s = open(t, Options{DSN: standby.DSN(), Node: "one"})
	if s.facts.limits.Load() != nil {
		t.Error("limits of nobody")
	}
	// Positions jumped when the first connection was made: the latest before it is that of Q3.
	got, end := followFrom(t, s, at)
	if !slices.Equal(got, []string{"accepted Q2", "accepted Q3"}) {
		t.Fatalf("%q", got)
	}
	before, _ := placeIn(end)
	if err := submitFact(s, "Q4"); err != nil {
		t.Fatal(err)
	}
	got, end = followFrom(t, s, end)
	if after, _ := placeIn(end); !slices.Equal(got, []string{"accepted Q4"}) || after < before+1<<32 {
		t.Errorf("%q at %s", got, end)
	}
	_ = s.Close()
	standby.Kill() // a crash is not a failover
	standby.Start()
	s = open(t, Options{DSN: standby.DSN(), Node: "one"})
	goesOn(s, "Q5", false, "accepted Q2", "accepted Q3", "accepted Q4", "accepted Q5")
	_ = s.Close()

	for end := time.Now().Add(time.Minute); standby.Exec(t, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'caddy-msa'") > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("connections are left")
		}
	}
	dsn := strings.Replace(standby.DSN(), "/postgres?", "/copy?", 1)
	standby.Exec(t, "CREATE DATABASE copy TEMPLATE postgres")
	s = open(t, Options{DSN: dsn, Node: "one"})
	defer s.Close()
	_, end = followFrom(t, s, at)
	before, _ = placeIn(end)
	if err := submitFact(s, "Q6"); err != nil {
		t.Fatal(err)
	}
	got, end = followFrom(t, s, end)
	if after, _ := placeIn(end); !slices.Equal(got, []string{"accepted Q6"}) || after < before+1<<32 {
		t.Errorf("in the copy: %q at %s", got, end)
	}
}

// Nobody can tell whether an outcome was recorded, and it is recorded again: its fact is there once.
func TestUncertainFacts(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	for _, when := range []byte{'b', 'a'} { // before the server has heard COMMIT, or after
		t.Run(string(when), func(t *testing.T) {
			p := newProxy(t, srv)
			armed := p.uncertain(when)
			s := open(t, Options{DSN: p.dsn(), Schema: "when_" + string(when), Node: "one", Lease: time.Minute, Timeout: bearable})
			defer s.Close()
			if err := submitFact(s, "Q1"); err != nil {
				t.Fatal(err)
			}
			l, _, err := s.Lease(context.Background(), time.Now(), queue.Want{})
			if err != nil {
				t.Fatal(err)
			}
			record := func() error {
				j := l.Job().Clone()
				j.Recipients[0].State = queue.Delivered
				return l.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}, Facts: []journal.Fact{rateFact(journal.Delivered, l.Entry())}})
			}
			armed.Store(true)
			if err := record(); err == nil {
				t.Fatal("recorded, and nobody knows")
			}
			p.set(false)
			for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
				err := record()
				if err == nil || errors.Is(err, queue.ErrLost) || errors.Is(err, queue.ErrLeaseEnded) {
					break
				}
				if time.Now().After(end) {
					t.Fatal(err)
				}
			}
			if got, _ := followFrom(t, s, ""); !slices.Equal(got, []string{"accepted Q1", "delivered Q1"}) {
				t.Errorf("%q", got)
			}
		})
	}
}

// A message whose client was told that it was not accepted is deleted, and the journal says so.
func TestDisownedFacts(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one", Lease: 3 * time.Second})
	defer s.Close()
	if err := submitFact(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	s.disown("Q1")
	for end := time.Now().Add(time.Minute); len(ids(t, s)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is still there")
		}
	}
	if got, _ := followFrom(t, s, ""); !slices.Equal(got, []string{"accepted Q1", "deleted Q1"}) {
		t.Errorf("%q", got)
	}
}

// Each key of a fact goes with it.
func TestForgottenKeys(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	for i := range 20 {
		if err := submitFact(s, fmt.Sprint("Q", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Purge(context.Background(), "bob@example.net"); err != nil {
		t.Fatal(err)
	}
	s.SetLimits(journal.Limits{Keep: time.Nanosecond})
	for end := time.Now().Add(time.Minute); srv.Exec(t, "SELECT 1 FROM msa.msa_fact") > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("facts are left")
		}
	}
	if n := srv.Exec(t, "SELECT 1 FROM msa.msa_fact_key"); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	if stat, err := s.Stat(context.Background()); err != nil || stat.Facts != 0 || stat.Octets != 0 || !stat.Oldest.IsZero() {
		t.Errorf("%+v, %v", stat, err)
	}
}

// A fact that is forgotten while an address is purged from it leaves no keys behind.
func TestPurgedWhileForgotten(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	if err := submitFact(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	other := session(t, srv.DSN())
	execOn(t, other, "DELETE FROM msa.msa_fact")
	execOn(t, other, "DELETE FROM msa.msa_fact_key")
	purged := make(chan error, 1)
	go func() {
		_, err := s.Purge(context.Background(), "bob@example.net")
		purged <- err
	}()
	await(t, "it waits for the fact", func() bool {
		return srv.Exec(t, "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	})
	execOn(t, other, "COMMIT")
	if err := <-purged; err != nil {
		t.Error(err)
	}
	if n := srv.Exec(t, "SELECT 1 FROM msa.msa_fact_key"); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// Who asks since when reads no more of a long journal than what may be of that time.
func TestFactsSince(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one", keepEvery: time.Millisecond})
	fillFacts(t, srv, 20_000)
	if err := submitFact(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	await(t, "facts are counted, which reads them", func() bool {
		return srv.Exec(t, "SELECT 1 FROM msa.msa_journal WHERE counted = (SELECT max(pos) FROM msa.msa_fact)") > 0
	})
	_ = s.Close()
	began := readOf(t, srv, "msa_fact")
	s = open(t, Options{DSN: srv.DSN(), Node: "one"})
	var found []string
	err := s.Facts(context.Background(), &journal.Query{Since: time.Now().Add(-time.Hour)}, func(f *journal.Fact) bool { found = append(found, f.ID); return true })
	_ = s.Close()
	if err != nil || !slices.Equal(found, []string{"Q1"}) {
		t.Errorf("%q, %v", found, err)
	}
	if n := readOf(t, srv, "msa_fact") - began; n > 20_000 {
		t.Errorf("it reads %d of 40,000 facts", n)
	}
}
