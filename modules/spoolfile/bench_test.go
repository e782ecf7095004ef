package spoolfile

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Accept and deliver: the numbers are in README.md.
func BenchmarkStore(b *testing.B) {
	for _, c := range []struct{ size, writers int }{
		{4 << 10, 1}, {4 << 10, 16}, {4 << 10, 64}, {60 << 10, 16}, {100 << 10, 16}, {200 << 10, 16}, {20 << 20, 4},
	} {
		for _, threshold := range []int{32 << 10, 64 << 10, 128 << 10, 256 << 10} {
			if c.size < 32<<10 && threshold != defaultThreshold {
				continue
			}
			b.Run(fmt.Sprintf("size=%dK/writers=%d/threshold=%dK", c.size>>10, c.writers, threshold>>10), func(b *testing.B) {
				benchmark(b, c.size, c.writers, threshold)
			})
		}
	}
}

func benchmark(b *testing.B, size, writers, threshold int) {
	fs := &syncCounter{FS: privateFS{vfs.Default}}
	s, err := Open(b.TempDir(), Options{FS: fs, Threshold: threshold})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	s.SetLimits(journal.Limits{Off: true})
	piece := make([]byte, 32<<10)
	for i := range piece {
		piece[i] = byte(i * 7919 >> 3)
	}
	var next atomic.Int64
	before := fs.n.Load()
	b.SetBytes(int64(size))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := acceptAndDeliver(s, strconv.FormatInt(i, 10), piece, size); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(fs.n.Load()-before)/float64(b.N), "syncs/msg")
}

func acceptAndDeliver(s *Store, id string, piece []byte, size int) error {
	d, err := s.Create(background)
	if err != nil {
		return err
	}
	defer d.Abort()
	for n := 0; n < size; {
		k := min(len(piece), size-n)
		if _, err := d.Write(piece[:k]); err != nil {
			return err
		}
		n += k
	}
	a := testAccept(id)
	a.Facts = []journal.Fact{acceptedFact(id, len(id))}
	if err := d.Commit(background, a); err != nil {
		return err
	}
	l, _, err := s.Lease(background, noon, queue.Want{})
	if err != nil {
		return err
	}
	r := as(l, queue.Delivered)
	r.Facts = []journal.Fact{deliveredFact(l.Entry().ID, len(id))}
	return l.Record(background, r)
}

// What the journal costs: the same is done in turn with and without it, so that a busy machine is as busy for both. Making
// the index counts. The numbers are in README.md.
func BenchmarkJournalCost(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			var took [2]time.Duration
			var stores [2]*Store
			for i := range stores {
				stores[i] = mustOpen(b, b.TempDir(), Options{})
				stores[i].SetLimits(journal.Limits{Off: i == 0, Keep: journal.DefaultKeep, MaxSize: journal.DefaultMaxSize})
			}
			piece := make([]byte, 4<<10)
			const turn = 100
			for n := 0; n < b.N; n += turn * writers {
				for k := range stores {
					i := (n/(turn*writers) + k) % 2
					began := time.Now()
					inTurn(b, stores[i], writers, turn, n, piece)
					indexed(b, stores[i])
					took[i] += time.Since(began)
				}
			}
			b.ReportMetric(100*took[0].Seconds()/took[1].Seconds(), "%")
		})
	}
}

// inTurn has each of some writers accept and deliver some messages.
func inTurn(b *testing.B, s *Store, writers, each, from int, piece []byte) {
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := acceptAndDeliver(s, fmt.Sprintf("%dx%dx%d", from, w, i), piece, len(piece)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestLarge fills a spool: SPOOLFILE_ENTRIES=200000 go test -run TestLarge -v.
func TestLarge(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("SPOOLFILE_ENTRIES"))
	if n == 0 {
		n = 2000
	}
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	piece := make([]byte, 4<<10)
	for range 64 {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				d, err := s.Create(background)
				if err != nil {
					t.Error(err)
					return
				}
				a := testAccept(fmt.Sprintf("%016X", i*7919))
				e := a.Entry
				e.User, e.Server, e.Attributes = "alice@example.org", "msa.example.org", map[string]string{"dept": "sales"}
				_, _ = d.Write(piece)
				if err := d.Commit(background, a); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d messages accepted in %v", n, time.Since(began))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = nil
	memory := inUse()
	began = time.Now()
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Logf("opened in %v, %.1f MiB more in use", time.Since(began), float64(inUse()-memory)/(1<<20))
	if got := s.schedule.len(); got != n {
		t.Errorf("%d entries of %d", got, n)
	}
	began = time.Now()
	for range 1000 {
		if _, _, err := s.Lease(background, noon, queue.Want{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("a lease takes %v", time.Since(began)/1000)
}

func inUse() int64 {
	var m runtime.MemStats
	for range 3 { // what pools hold goes too
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// syncCounter counts the syncs of files and directories.
type syncCounter struct {
	vfs.FS
	n atomic.Int64
}

func (c *syncCounter) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &countedFile{f, c}, nil
}

func (c *syncCounter) Create(name string, w vfs.DiskWriteCategory) (vfs.File, error) {
	return c.wrap(c.FS.Create(name, w))
}

func (c *syncCounter) OpenDir(name string) (vfs.File, error) { return c.wrap(c.FS.OpenDir(name)) }

func (c *syncCounter) ReuseForWrite(o, n string, w vfs.DiskWriteCategory) (vfs.File, error) {
	return c.wrap(c.FS.ReuseForWrite(o, n, w))
}

type countedFile struct {
	vfs.File
	c *syncCounter
}

func (f *countedFile) Sync() error     { f.c.n.Add(1); return f.File.Sync() }
func (f *countedFile) SyncData() error { f.c.n.Add(1); return f.File.SyncData() }
