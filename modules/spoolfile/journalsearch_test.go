package spoolfile

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// addRecords commits records of one fact each, many at once; their order is that of the numbers only about.
func addRecords(t testing.TB, s *Store, from, to int, fact func(i int) journal.Fact) {
	t.Helper()
	next := make(chan int)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := range next {
				if err := s.commit(&change{facts: s.book.encode([]journal.Fact{fact(i)})}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := from; i < to; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
}

// indexed waits until all blocks that are full have an index.
func indexed(t testing.TB, s *Store) *shelf {
	t.Helper()
	for {
		eng, err := s.engine()
		if err != nil {
			t.Fatal(err)
		}
		s.book.work.Lock()
		more, err := s.book.index(eng)
		s.book.work.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return s.book.shelf.Load()
		}
	}
}

// story of message i: accepted by one of some users, for several, and delivered later.
func mixed(i int) journal.Fact {
	id := fmt.Sprintf("M%07d", i/2)
	if i%2 == 0 {
		f := acceptedFact(id, i)
		if i%7 == 0 {
			f.Recipients = append(f.Recipients, fmt.Sprintf("More%d@Example.COM", i%11), f.Recipients[0])
		}
		return f
	}
	return deliveredFact(id, i)
}

// Whatever is asked, what the index finds is what a look at everything finds, whichever way the pages fall.
func TestJournalIndex(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, t.TempDir(), Options{})
	const records = 3*(blockMask+1) + 1500
	addRecords(t, s, 0, records, mixed)
	all := queryFacts(t, s, new(journal.Query)) // nothing has an index perhaps
	if len(all) != records {
		t.Fatalf("%d facts of %d", len(all), records)
	}
	if sh := indexed(t, s); len(sh.blocks) != 3 {
		t.Fatalf("%d blocks have an index", len(sh.blocks))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	queries := []journal.Query{{}, {Address: "nobody@example.org"}, {ID: "none"}, {What: []journal.Kind{journal.Delivered}}, {Text: "queued as"}}
	for range installed.Rounds(60, 12) {
		f := all[rnd.IntN(len(all))]
		q := journal.Query{}
		if rnd.IntN(3) == 0 {
			q.ID = f.ID
		}
		if rnd.IntN(3) == 0 {
			q.User = strings.ToUpper(f.User)
		}
		if rnd.IntN(3) == 0 {
			q.Address = f.Recipients[rnd.IntN(len(f.Recipients))]
		}
		if rnd.IntN(3) == 0 {
			q.Sender = f.Sender
		}
		if f.Visit != nil && rnd.IntN(2) == 0 {
			q.HopID = f.HopID
		}
		if rnd.IntN(4) == 0 {
			q.Since = f.Time.Add(-20 * time.Minute)
			q.Until = f.Time.Add(20 * time.Minute)
		}
		if rnd.IntN(3) == 0 {
			q.Before = all[rnd.IntN(len(all))].Position
		}
		queries = append(queries, q)
	}
	for _, q := range queries {
		var want []journal.Position
		seen := q.Before == ""
		for i := range all {
			if seen && q.Match(&all[i]) {
				want = append(want, all[i].Position)
			}
			seen = seen || all[i].Position == q.Before
		}
		var got []journal.Position
		for _, f := range queryFacts(t, s, &q) {
			got = append(got, f.Position)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %d facts, wanted %d", q, len(got), len(want))
		}
		// The same in pages.
		got = nil
		for paged := q; ; {
			n := 0
			if err := s.Facts(background, &paged, func(f *journal.Fact) bool {
				got, n = append(got, f.Position), n+1
				return n < 1000
			}); err != nil {
				t.Fatal(err)
			}
			if n < 1000 {
				break
			}
			paged.Before = got[len(got)-1]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %d facts in pages, wanted %d", q, len(got), len(want))
		}
	}
	// The follower's order is the same, backwards.
	var after journal.Position
	for i := len(all); i > 0; {
		page := follow(t, s, after, 1000)
		for _, f := range page {
			if i--; f.Position != all[i].Position {
				t.Fatalf("fact %d follows at %s, wanted %s", i, f.Position, all[i].Position)
			}
		}
		after = page[len(page)-1].Position
	}
}

// What fact.Keys and query.Keys name is what is found: the index has a term for each.
func TestJournalTerms(t *testing.T) {
	f := mixed(7 * 4)
	f.Notification = "N1"
	x := newIndexer(0)
	x.add(5, 100, []journal.Fact{f})
	for _, key := range f.Keys() {
		if !slices.Contains(x.postings, nameTerm(key)|5) {
			t.Errorf("there is no posting for %q", key)
		}
	}
}

// A query of a large journal: the numbers are in README.md. SPOOLFILE_FACTS=1000000 go test -run=NONE -bench=JournalQuery .
func BenchmarkJournalQuery(b *testing.B) {
	n, _ := strconv.Atoi(os.Getenv("SPOOLFILE_FACTS"))
	if n == 0 {
		n = 50_000
	}
	dir := b.TempDir()
	s := mustOpen(b, dir, Options{})
	began := time.Now()
	addRecords(b, s, 0, n, mixed)
	written := time.Since(began)
	sh := indexed(b, s)
	facts, octets := sh.size()
	b.Logf("%d facts in %v, %d blocks indexed with %d facts of %d octets; %d octets on the disk", n, written, len(sh.blocks), facts, octets, diskOf(b, dir))
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	before := inUse()
	began = time.Now()
	s = mustOpen(b, dir, Options{})
	b.Logf("opened in %v", time.Since(began))
	for name, q := range map[string]journal.Query{
		"id":        {ID: fmt.Sprintf("M%07d", n/4)},
		"user":      {User: "user77@example.org"},
		"recipient": {Recipient: "rcpt4077@example.net"},
		"nobody":    {Address: "nobody@example.net"},
		"hop":       {HopID: fmt.Sprintf("4Xb9QzM%07d", n/4)},
		"latest":    {},
		"text":      {Text: "no such text"},
	} {
		b.Run(name, func(b *testing.B) {
			found := 0
			for range b.N {
				found = 0
				if err := s.Facts(background, &q, func(*journal.Fact) bool { found++; return found < 100 }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/query")
			b.ReportMetric(float64(found), "facts")
		})
	}
	runtime.GC()
	b.Logf("%.1f MiB more in use than when it was closed", float64(inUse()-before)/(1<<20))
}

func diskOf(t testing.TB, dir string) (octets int64) {
	t.Helper()
	names, err := os.ReadDir(dir + "/store")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if info, err := e.Info(); err == nil {
			octets += info.Size()
		}
	}
	return octets
}
