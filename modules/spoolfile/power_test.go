package spoolfile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var (
	background = context.Background()
	noon       = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
)

// promises is what a client or a worker was told up to some moment.
type promises struct {
	committed map[string]bool // Commit returned nil
	deleting  map[string]bool // a Record that deletes began
	deleted   map[string]bool // and returned nil
	aborted   map[string]bool
	began     map[string]int // attempts that a Record was given
	recorded  map[string]int // attempts of which Record returned nil
}

func (p *promises) clone() *promises {
	c := newPromises()
	for k := range p.committed {
		c.committed[k] = true
	}
	for k := range p.deleting {
		c.deleting[k] = true
	}
	for k := range p.deleted {
		c.deleted[k] = true
	}
	for k := range p.aborted {
		c.aborted[k] = true
	}
	for k, v := range p.began {
		c.began[k] = v
	}
	for k, v := range p.recorded {
		c.recorded[k] = v
	}
	return c
}

func newPromises() *promises {
	return &promises{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]int{}, map[string]int{}}
}

func testEntry(id string) *queue.Entry {
	return &queue.Entry{ID: id, Sender: "alice@example.org", Recipients: []queue.Recipient{{Address: "bob@example.net"}}, Next: noon}
}

func testBody(id string) []byte {
	var n int
	_, _ = fmt.Sscanf(id, "Q%d", &n)
	return bytes.Repeat([]byte(id+" is what this line says\r\n"), 1+n*n%257)
}

const testHeader = "Received: here\r\n"

func tell(d *disk, f func(*promises)) {
	if d != nil {
		d.mark(f)
	}
}

// exercise puts messages through a spool: accepted, given up, retried, delivered.
// The disk, if any, hears what was promised and when.
func exercise(s *Store, d *disk, from, to int, workers int) error {
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := from + w; i < to; i += workers {
				if err := exerciseOne(s, d, i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func exerciseOne(s *Store, d *disk, i int) error {
	id := fmt.Sprintf("Q%03d", i)
	draft, err := s.Create(background)
	if err != nil {
		return err
	}
	if _, err := draft.Write(testBody(id)); err != nil {
		return err
	}
	if i%6 == 5 {
		tell(d, func(p *promises) { p.aborted[id] = true })
		draft.Abort()
		return nil
	}
	if err := draft.Commit(background, testEntry(id), []byte(testHeader)); err != nil {
		return err
	}
	tell(d, func(p *promises) { p.committed[id] = true })
	if i%3 == 0 {
		return nil // stays
	}
	l, _, err := s.Lease(background, noon)
	if err != nil {
		return err
	}
	e := l.Entry()
	if i%3 == 1 {
		e.Attempts++
		n := e.Attempts
		tell(d, func(p *promises) { p.began[e.ID] = n })
		if err := l.Record(background, e); err != nil {
			return err
		}
		tell(d, func(p *promises) { p.recorded[e.ID] = n })
		return nil
	}
	e.Recipients[0].State = queue.Delivered
	tell(d, func(p *promises) { p.deleting[e.ID] = true })
	if err := l.Record(background, e); err != nil {
		return err
	}
	tell(d, func(p *promises) { p.deleted[e.ID] = true })
	return nil
}

func testOptions(fs vfs.FS) Options {
	return Options{FS: fs, Threshold: 2 << 10, Reserve: -1, Ballast: -1, memTable: 64 << 10}
}

// audit opens the spool and compares it with what was promised.
func audit(fs vfs.FS, p *promises) error {
	return auditIn("/var/spool", fs, testOptions(fs), p)
}

func auditIn(dir string, fs vfs.FS, o Options, p *promises) error {
	s, err := Open(dir, o)
	if err != nil {
		return err
	}
	defer s.Close()
	found := make(map[string]*queue.Entry)
	if err := s.List(background, "", func(e *queue.Entry) bool { found[e.ID] = e; return true }); err != nil {
		return err
	}
	for id := range p.committed {
		if found[id] == nil && !p.deleting[id] {
			return fmt.Errorf("%s was accepted and is gone", id)
		}
	}
	large := 0
	for id, e := range found {
		switch {
		case p.deleted[id]:
			return fmt.Errorf("%s came back after its delivery was recorded", id)
		case p.aborted[id]:
			return fmt.Errorf("%s was given up and is there", id)
		case e.Attempts < p.recorded[id], e.Attempts > p.began[id]:
			return fmt.Errorf("%s has %d attempts, %d are recorded and %d were made", id, e.Attempts, p.recorded[id], p.began[id])
		}
		l, _, err := s.Lease(background, noon)
		if err != nil {
			return fmt.Errorf("%d entries, not all leased: %w", len(found), err)
		}
		if l.(*lease).it.rec.file != 0 {
			large++
		}
		r, err := l.Open()
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		r.Close()
		if want := append([]byte(testHeader), testBody(l.Entry().ID)...); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("%s is not whole: %d octets of %d: %w", l.Entry().ID, len(got), len(want), err)
		}
	}
	names, err := fs.List(s.path("bodies"))
	if err != nil || len(names) != large {
		return fmt.Errorf("%d bodies for %d large messages: %v", len(names), large, err)
	}
	return nil
}

// whatever instant the power fails at, and whatever becomes of what was
// not synced, each message that was accepted is there and whole, none is that
// was not, and nothing delivered comes back.
func TestPowerLoss(t *testing.T) {
	d := newDisk()
	for round := range 3 { // the second and third opening have something to recover
		s, err := Open("/var/spool", testOptions(d))
		if err != nil {
			t.Fatal(err)
		}
		if err := exercise(s, d, 60*round, 60*(round+1), 1+2*round); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	syncs, flushes := 0, 0
	for _, e := range d.log {
		switch {
		case e.kind == syncFile:
			syncs++
		case e.kind == makeFile && strings.HasSuffix(e.path, ".sst"):
			flushes++
		}
	}
	t.Logf("%d events, %d syncs, %d tables", len(d.log), syncs, flushes)
	if flushes == 0 {
		t.Error("no table was written: the test misses flushes")
	}
	losePower(t, d, 0, powerStates)
}

// the power fails once more while the spool recovers.
func TestPowerLossInRecovery(t *testing.T) {
	d := newDisk()
	s, err := Open("/var/spool", testOptions(d))
	if err != nil {
		t.Fatal(err)
	}
	if err := exercise(s, d, 0, 60, 3); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	const first = 4
	for n := range first {
		p, known := newPlatter(), newPromises()
		for _, e := range d.log[:len(d.log)*(n+1)/first] {
			p.apply(e)
			if e.kind == mark {
				e.mark(known)
			}
		}
		second := newDisk()
		p.restore(second, "/", p.nodes[0], fate(n), rand.New(rand.NewPCG(uint64(n), 0)))
		second.mark(func(p *promises) { *p = *known.clone() })
		began := len(second.log)
		s, err := Open("/var/spool", testOptions(second))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		losePower(t, second, began, powerStates/3/first)
	}
}

// losePower tries about so many states that a power loss after one of the log's
// events can leave, beginning with that event.
func losePower(t *testing.T, d *disk, from, states int) {
	type crash struct {
		at   int
		what fate
		fs   vfs.FS
		p    *promises
	}
	crashes := make(chan crash)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for c := range crashes {
				if err := audit(c.fs, c.p); err != nil {
					t.Errorf("power lost after event %d of %d (%s), what was not synced is %s: %v", c.at, len(d.log), d.log[c.at].kind, fates[c.what], err)
				}
			}
		})
	}
	// All fates at each event, or fewer, or one at some events.
	each := min(len(fates), max(1, states/(len(d.log)-from)))
	step := max(1, (len(d.log)-from)/states)
	p, known, tried := newPlatter(), newPromises(), 0
	for i, e := range d.log {
		p.apply(e)
		if e.kind == mark {
			e.mark(known)
		}
		if t.Failed() || i < from || (i-from)%step != 0 {
			continue
		}
		for k := range each {
			rnd := rand.New(rand.NewPCG(uint64(i), uint64(len(d.log))))
			what := fate((rnd.IntN(len(fates)) + k) % len(fates))
			crashes <- crash{i, what, p.restart(what, rnd), known.clone()}
			tried++
		}
	}
	close(crashes)
	wg.Wait()
	t.Logf("%d states of the disk tried", tried)
}

func (k kind) String() string {
	return [...]string{"mkdir", "create", "write", "sync", "dirsync", "remove", "rename", "mark"}[k]
}
