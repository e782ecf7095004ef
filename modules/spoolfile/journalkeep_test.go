package spoolfile

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// trimmed has the limits looked at.
func trimmed(t testing.TB, s *Store, now time.Time) journal.Stat {
	t.Helper()
	indexed(t, s)
	eng, err := s.engine()
	if err != nil {
		t.Fatal(err)
	}
	s.book.work.Lock()
	err = s.book.trim(background, eng, now)
	s.book.work.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	stat, err := s.Stat(background)
	if err != nil {
		t.Fatal(err)
	}
	return stat
}

// However much is written, the journal takes no more than it may on the disk, and a little for what is being tidied up.
func TestJournalSize(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	scale := installed.Rounds(8, 2)
	size := int64(scale) << 20
	s.SetLimits(journal.Limits{MaxSize: size})
	for i := range 12 {
		addRecords(t, s, i*scale*1250, (i+1)*scale*1250, mixed)
		stat := trimmed(t, s, noon)
		if stat.Octets > size || i > 4 && stat.Octets < size/2 {
			t.Errorf("%d octets of %d", stat.Octets, size)
		}
	}
	eng, err := s.engine()
	if err != nil {
		t.Fatal(err)
	}
	tables := eng.db.Metrics().Total().TablesSize
	if tables > size+reclaim+2*memTable {
		t.Errorf("the tables have %d octets", tables)
	}
	all := queryFacts(t, s, new(journal.Query))
	if stat := trimmed(t, s, noon); int64(len(all)) != stat.Facts || !all[len(all)-1].Time.Equal(stat.Oldest) || all[0].Position != stat.End {
		t.Errorf("%d facts from %v to %s; %+v", len(all), all[len(all)-1].Time, all[0].Position, stat)
	}
	if got := follow(t, s, "", 10); len(got) != 10 || got[0].Position != all[len(all)-1].Position {
		t.Errorf("what follows begins elsewhere")
	}
	s.Close()
	s = mustOpen(t, dir, Options{})
	if again := queryFacts(t, s, new(journal.Query)); len(again) != len(all) || again[0].Position != all[0].Position {
		t.Errorf("%d facts of %d after the next start", len(again), len(all))
	}
	commitOne(t, s, "Q1", journal.Fact{ID: "Q1"})
	if got := follow(t, s, all[0].Position, 10); story(got) != " Q1" {
		t.Errorf("%q follows", story(got))
	}
}

// All can be forgotten, and no place is given twice.
func TestJournalAllOld(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	s.SetLimits(journal.Limits{Keep: time.Hour})
	addRecords(t, s, 0, 5000, mixed)
	end, _ := s.Stat(background)
	if err := s.SetCursor(background, "hook", end.End); err != nil {
		t.Fatal(err)
	}
	if stat := trimmed(t, s, noon.Add(1e6*time.Second)); stat.Facts != 0 || stat.Octets != 0 || !stat.Oldest.IsZero() {
		t.Errorf("%+v", stat)
	}
	s.Close()
	s = mustOpen(t, dir, Options{})
	commitOne(t, s, "Q1", journal.Fact{ID: "Q1", Time: noon.Add(1e6 * time.Second)})
	p, err := s.Cursor(background, "hook")
	if got := follow(t, s, p, 10); err != nil || story(got) != " Q1" {
		t.Errorf("%q follows %s, %v", story(got), p, err)
	}
	if stat, err := s.Stat(background); err != nil || stat.Facts != 1 {
		t.Errorf("%+v, %v", stat, err)
	}
}

// A purge leaves nothing of an address: neither in answers, nor in the files.
func TestJournalPurge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	const victim = "Victim.Name@example.net"
	addRecords(t, s, 0, 2*(blockMask+1)+500, func(i int) journal.Fact {
		f := mixed(i)
		switch {
		case i%1000 == 1:
			f.Recipients = append(f.Recipients, victim)
		case i%1000 == 2:
			f.Sender, f.User = strings.ToLower(victim), victim
		case i%1000 == 3:
			f.Text = "550 5.1.1 <" + victim + ">: no such user"
		}
		return f
	})
	indexed(t, s)
	if got := len(queryFacts(t, s, &journal.Query{Address: victim})); got != 18 {
		t.Fatalf("%d facts", got)
	}
	before, _ := s.Stat(background)
	cancelled, cancel := context.WithCancel(background)
	cancel()
	if _, err := s.Purge(cancelled, victim); err == nil {
		t.Error("a purge that was broken off says nothing")
	}
	n, err := s.Purge(background, victim)
	if err != nil || n == 0 {
		t.Fatalf("%d, %v", n, err)
	}
	if got := len(queryFacts(t, s, &journal.Query{Address: victim})); got != 0 {
		t.Errorf("%d facts are left", got)
	}
	if got := len(queryFacts(t, s, &journal.Query{Text: victim})); got != 0 {
		t.Errorf("%d texts are left", got)
	}
	if n, err := s.Purge(background, victim); n != 0 || err != nil {
		t.Errorf("once more: %d, %v", n, err)
	}
	if got := len(queryFacts(t, s, &journal.Query{Address: journal.Forgotten})); got != 18 {
		t.Errorf("%d facts have something else in its place", got)
	}
	if after, _ := s.Stat(background); after.Facts != before.Facts || after.End != before.End {
		t.Errorf("%+v became %+v", before, after)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "store", "*.sst"))
	hash := fmt.Sprintf("%06x", uint64(nameTerm(journal.Fold(victim)))>>postingBits)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(bytes.ToLower(b), []byte(strings.ToLower(victim))) {
			t.Errorf("%s has it", name)
		}
		if strings.Contains(fmt.Sprintf("%x", b), hash) {
			t.Errorf("%s has its hash", name)
		}
	}
}

// A disk that is nearly full has the journal give way, and no message refused.
func TestJournalGivesWay(t *testing.T) {
	fs := &faulty{FS: vfs.NewMem()}
	fs.avail.Store(1 << 40)
	s := mustOpen(t, "/var/spool", Options{FS: fs, Ballast: -1})
	addRecords(t, s, 0, 3*(blockMask+1), mixed)
	if err := s.SetCursor(background, "hook", ""); err != nil {
		t.Fatal(err)
	}
	before := trimmed(t, s, noon)
	fs.avail.Store(defaultReserve + shortBy - 100)
	commitOne(t, s, "Q1", journal.Fact{ID: "Q1"})
	poke(s.book.short) // as the next look at the disk does
	for stat := before; stat.Facts == before.Facts+1 || stat.Facts == before.Facts; time.Sleep(time.Millisecond) {
		var err error
		if stat, err = s.Stat(background); err != nil {
			t.Fatal(err)
		}
	}
	fs.avail.Store(1 << 40)
	if got := story(queryFacts(t, s, &journal.Query{ID: "Q1"})); got != " Q1" {
		t.Errorf("%q is left of the latest", got)
	}
}
