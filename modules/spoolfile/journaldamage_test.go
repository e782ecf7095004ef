package spoolfile

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A record that is not what it was is passed over, counted and found by a check; nothing else suffers.
func TestJournalDamagedRecord(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	for _, id := range []string{"Q1", "Q2", "Q3"} {
		commitOne(t, s, id, journal.Fact{What: journal.Accepted, ID: id})
	}
	if err := s.commit(&change{writes: []edit{set(factKey(2), []byte("nonsense"))}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := story(follow(t, s, "", 9)); got != "accepted Q1, accepted Q3" {
			t.Errorf("%q", got)
		}
		if got := story(queryFacts(t, s, &journal.Query{})); got != "accepted Q3, accepted Q1" {
			t.Errorf("%q", got)
		}
		if n, err := s.Purge(background, "nobody@example.org"); n != 0 || err != nil {
			t.Errorf("purge: %d, %v", n, err)
		}
		var problems []string
		if n, _, err := s.Check(background, func(int) {}, func(id, problem string) { problems = append(problems, id+": "+problem) }); n != 3 || err != nil ||
			fmt.Sprint(problems) != "[journal: 1 of its records are damaged; they are passed over]" {
			t.Errorf("%d messages, %q, %v", n, problems, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, Options{})
	}
	for range 3 {
		if _, _, err := s.Lease(background, noon, queue.Want{}); err != nil {
			t.Error(err)
		}
	}
}

// Whatever is damaged of the journal's tables, all messages are delivered, and the other facts are still told.
func TestJournalDamagedTables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{memTable: 64 << 10})
	messages, records := 30, installed.Rounds(6000, 2500)
	for i := range messages {
		commitOne(t, s, fmt.Sprintf("Q%d", i), journal.Fact{What: journal.Accepted, ID: fmt.Sprintf("Q%d", i)})
	}
	addRecords(t, s, 0, records, func(i int) journal.Fact { // they name the messages, as facts do
		f := deliveredFact(fmt.Sprintf("Q%d", i%messages), i)
		f.Text = `{"id":"Q1"`
		return f
	})
	indexed(t, s)
	hook := follow(t, s, "", 5)[4].Position
	if err := s.SetCursor(background, "hook", hook); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range installed.Rounds(24, 2) {
		rnd := rand.New(rand.NewPCG(uint64(round), 7))
		broken := t.TempDir()
		if err := os.CopyFS(broken, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		name := spoilJournal(t, rnd, filepath.Join(broken, "store"))
		s, err := Open(broken, Options{Retry: time.Millisecond})
		if err != nil {
			t.Fatalf("round %d, %s: %v", round, name, err)
		}
		count := func() int { return len(queryFacts(t, s, &journal.Query{})) }
		first := count() // meets the damage, and has the store rebuilt, if that did not happen yet
		if n := count(); n < records/3 || first < n {
			t.Errorf("round %d, %s: %d facts of %d, and %d when asked again", round, name, first, records+messages, n)
		}
		indexed(t, s)
		if got := queryFacts(t, s, &journal.Query{ID: "Q3"}); len(got) < 20 {
			t.Errorf("round %d, %s: %d facts by the index", round, name, len(got))
		}
		if p, err := s.Cursor(background, "hook"); p != hook && p != "" || err != nil {
			t.Errorf("round %d, %s: the cursor is %q, %v", round, name, p, err)
		}
		for i := range messages {
			l, _, err := s.Lease(background, noon, queue.Want{})
			if err != nil {
				t.Fatalf("round %d, %s: after %d messages: %v", round, name, i, err)
			}
			r, err := l.Open(background)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(r); err != nil {
				t.Error(err)
			}
			r.Close()
		}
		if n := s.Damaged(); n != 0 {
			t.Errorf("round %d, %s: %d messages count as damaged", round, name, n)
		}
		before := count()
		commitOne(t, s, "new", journal.Fact{ID: "new"})
		if count() != before+1 {
			t.Errorf("round %d: a new fact is not told", round)
		}
		s.Close()
	}
}

// spoilJournal changes octets of a table that has nothing but the journal's keys.
func spoilJournal(t *testing.T, rnd *rand.Rand, dir string) string {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{ReadOnly: true, Logger: quiet{}, FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	levels, err := db.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range levels {
		for _, table := range level {
			switch from, to := ofJournal(table.Smallest.UserKey), ofJournal(table.Largest.UserKey); {
			case from != to:
				t.Fatalf("a table has the keys %q to %q", table.Smallest.UserKey, table.Largest.UserKey)
			case from:
				names = append(names, table.BackingSSTNum.String()+".sst")
			}
		}
	}
	if err := db.Close(); err != nil || len(names) < 2 {
		t.Fatalf("%d tables: %v", len(names), err)
	}
	name := names[rnd.IntN(len(names))]
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	at := rnd.IntN(len(b) - 100)
	if rnd.IntN(4) == 0 {
		at = len(b) - 100 // the end, which says where all is
	}
	for i := range 1 + rnd.IntN(90) {
		b[at+i] ^= byte(1 + rnd.IntN(255))
	}
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s at %d of %d", name, at, len(b))
}

// A store without facts is as before: nothing is written for the journal, and nothing found.
func TestJournalEmpty(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	commitOne(t, s, "Q1")
	stat, err := s.Stat(background)
	if err != nil || stat.Facts != 0 || len(follow(t, s, "", 5)) != 0 || len(follow(t, s, stat.End, 5)) != 0 || len(queryFacts(t, s, &journal.Query{ID: "Q1"})) != 0 {
		t.Errorf("%+v, %v", stat, err)
	}
	if eng, err := s.engine(); err != nil || eng.seq.committed.Load() != 0 {
		t.Error("something was written for the journal")
	}
}
