package spoolfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var (
	background = context.Background()
	noon       = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
)

// promises is what a client or a worker was told up to some moment.
type promises struct {
	committed map[string]bool // Commit returned nil
	deleting  map[string]int  // Records that end a job began
	deleted   map[string]int  // and returned nil
	aborted   map[string]bool
	began     map[string]int // attempts that a Record was given
	recorded  map[string]int // attempts of which Record returned nil
}

func (p *promises) clone() *promises {
	c := newPromises()
	for k := range p.committed {
		c.committed[k] = true
	}
	for k, v := range p.deleting {
		c.deleting[k] = v
	}
	for k, v := range p.deleted {
		c.deleted[k] = v
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
	return &promises{map[string]bool{}, map[string]int{}, map[string]int{}, map[string]bool{}, map[string]int{}, map[string]int{}}
}

func testEntry(id string) *queue.Entry {
	return &queue.Entry{ID: id, Sender: "alice@example.org", Recipients: []queue.Recipient{{Address: "bob@example.net"}}}
}

// testAccept is a message with one job.
func testAccept(id string) *queue.Accept {
	a := &queue.Accept{Entry: testEntry(id), Header: []byte(testHeader)}
	j := queue.NewJob(a.Entry)
	j.Due = noon
	a.Jobs = []queue.Job{j}
	return a
}

// manyLanes is a message with a job in each of as many lanes as jobsOf says.
func manyLanes(id string) *queue.Accept {
	a := testAccept(id)
	first := a.Jobs[0]
	a.Jobs, a.Entry.Recipients = nil, nil
	for i := range jobsOf(id) {
		a.Entry.Recipients = append(a.Entry.Recipients, queue.Recipient{Address: fmt.Sprintf("bob%d@example.net", i)})
	}
	for i := range jobsOf(id) {
		j := first
		j.Number, j.Lane = i+1, fmt.Sprintf("relay/%s%d", id, i)
		must(j.SetRecipients(a.Entry, queue.Indexes{i}))
		a.Jobs = append(a.Jobs, j)
	}
	return a
}

func jobsOf(id string) int {
	var n int
	_, _ = fmt.Sscanf(id, "Q%d", &n)
	return 1 + n%2*2
}

// as is the record of a job whose recipients all fared alike.
func as(l queue.Lease, state queue.State) *queue.Record {
	j := l.Job().Clone()
	for i := range j.Recipients {
		j.Recipients[i].State = state
	}
	return &queue.Record{At: noon, Jobs: []queue.Job{*j}}
}

func attemptsOf(m *queue.EntryView) (n int) {
	for i := range m.Jobs {
		n += m.Jobs[i].Attempts
	}
	return n
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
	a := manyLanes(id)
	a.Facts = []journal.Fact{acceptedFact(id, i)}
	if err := draft.Commit(background, a); err != nil {
		return err
	}
	tell(d, func(p *promises) { p.committed[id] = true })
	if i%3 == 0 {
		return nil // stays
	}
	for range jobsOf(id) {
		if err := workOne(s, d, i%3 == 1); err != nil {
			return err
		}
	}
	return nil
}

// workOne retries or delivers some job.
func workOne(s *Store, d *disk, retry bool) error {
	l, _, err := s.Lease(background, noon, queue.Want{})
	if err != nil {
		return err
	}
	id := l.Entry().ID
	if retry {
		r := as(l, queue.Pending)
		r.Jobs[0].Attempts++
		r.Facts = []journal.Fact{{What: journal.Deferred, ID: id, Text: "451 4.2.0 come again"}}
		tell(d, func(p *promises) { p.began[id]++ })
		if err := l.Record(background, r); err != nil {
			return err
		}
		tell(d, func(p *promises) { p.recorded[id]++ })
		return nil
	}
	tell(d, func(p *promises) { p.deleting[id]++ })
	r := as(l, queue.Delivered)
	r.Facts = []journal.Fact{deliveredFact(id, 1)}
	if err := l.Record(background, r); err != nil {
		return err
	}
	tell(d, func(p *promises) { p.deleted[id]++ })
	return nil
}

func testOptions(fs vfs.FS) Options {
	return Options{FS: fs, Threshold: 2 << 10, Reserve: -1, Ballast: -1, memTable: 64 << 10}
}

// audit opens the spool and compares it with what was promised.
func audit(fs vfs.FS, p *promises) error {
	return auditIn("/var/spool", fs, testOptions(fs), p)
}

func auditIn(dir string, fs vfs.FS, o Options, p *promises) (err error) {
	core, logged := observer.New(zapcore.ErrorLevel)
	o.Log = zap.New(core)
	defer func() { // what a crash leaves is no damage
		for _, l := range logged.All() {
			if err == nil || strings.Contains(err.Error(), "not all leased") {
				err = fmt.Errorf("the log says %q %v; %v", l.Message, l.ContextMap(), err)
			}
		}
	}()
	s, err := Open(dir, o)
	if err != nil {
		return err
	}
	defer s.Close()
	found := make(map[string]*queue.EntryView)
	if err := s.List(background, "", func(m *queue.EntryView) bool { found[m.Entry.ID] = m; return true }); err != nil {
		return err
	}
	for id := range p.committed {
		if found[id] == nil && p.deleting[id] < jobsOf(id) {
			return fmt.Errorf("%s was accepted and is gone", id)
		}
	}
	if err := auditJournal(s, found, p); err != nil {
		return err
	}
	large := 0
	for id, m := range found {
		ended := 0
		for i := range m.Jobs {
			if !m.Jobs[i].Pending() {
				ended++
			}
		}
		switch attempts := attemptsOf(m); {
		case ended < p.deleted[id] || ended > p.deleting[id] || len(m.Jobs) != jobsOf(id):
			return fmt.Errorf("%s has %d jobs of %d ended, %d are recorded and %d were made", id, ended, len(m.Jobs), p.deleted[id], p.deleting[id])
		case p.deleted[id] == jobsOf(id):
			return fmt.Errorf("%s came back after its delivery was recorded", id)
		case p.aborted[id]:
			return fmt.Errorf("%s was given up and is there", id)
		case attempts < p.recorded[id], attempts > p.began[id]:
			return fmt.Errorf("%s has %d attempts, %d are recorded and %d were made", id, attempts, p.recorded[id], p.began[id])
		}
		if s.schedule.find(id).file != 0 {
			large++
		}
		for range len(m.Jobs) - ended {
			l, _, err := s.Lease(background, noon, queue.Want{})
			if err != nil {
				return fmt.Errorf("%d entries, not all leased: %w", len(found), err)
			}
			r, err := l.Open(background)
			if err != nil {
				return err
			}
			got, err := io.ReadAll(r)
			r.Close()
			if want := append([]byte(testHeader), testBody(l.Entry().ID)...); err != nil || !bytes.Equal(got, want) {
				return fmt.Errorf("%s is not whole: %d octets of %d: %w", l.Entry().ID, len(got), len(want), err)
			}
		}
	}
	if l, _, err := s.Lease(background, noon.Add(time.Hour), queue.Want{}); !errors.Is(err, queue.ErrNoneDue) {
		return fmt.Errorf("one more job was leased: %v, %v", l, err)
	}
	names, err := fs.List(s.path("bodies"))
	if err != nil || len(names) != large {
		return fmt.Errorf("%d bodies for %d large messages: %v", len(names), large, err)
	}
	return nil
}

// auditJournal compares the journal with what is there, and what was promised: a fact is there exactly when what it tells of is.
func auditJournal(s *Store, found map[string]*queue.EntryView, p *promises) error {
	told := make(map[string]map[journal.Kind]int)
	for after := journal.Position(""); ; {
		facts, err := s.Follow(background, after, 100)
		if err != nil {
			return err
		}
		if len(facts) == 0 {
			break
		}
		for _, f := range facts {
			after = f.Position
			if told[f.ID] == nil {
				told[f.ID] = make(map[journal.Kind]int)
			}
			if f.What != journal.Accepted && told[f.ID][journal.Accepted] == 0 {
				return fmt.Errorf("%s was %s before it was accepted", f.ID, f.What)
			}
			told[f.ID][f.What]++
		}
	}
	for id := range p.committed {
		if n := told[id][journal.Accepted]; n != 1 {
			return fmt.Errorf("%s was accepted, and %d facts say so", id, n)
		}
	}
	for id, of := range told {
		m := found[id]
		switch accepted, deferred, delivered := of[journal.Accepted], of[journal.Deferred], of[journal.Delivered]; {
		case accepted != 1 || p.aborted[id]:
			return fmt.Errorf("%d facts say that %s was accepted", accepted, id)
		case m == nil && delivered != jobsOf(id):
			return fmt.Errorf("%s is gone, and %d facts say that it was delivered", id, delivered)
		case m == nil:
		case deferred != attemptsOf(m):
			return fmt.Errorf("%s has %d attempts, and %d facts say so", id, attemptsOf(m), deferred)
		case delivered != len(m.Jobs)-m.Open():
			return fmt.Errorf("%s has %d jobs that were done, and %d facts say so", id, len(m.Jobs)-m.Open(), delivered)
		case delivered < p.deleted[id] || deferred < p.recorded[id]:
			return fmt.Errorf("%s: %d facts of deliveries of %d, %d of attempts of %d", id, delivered, p.deleted[id], deferred, p.recorded[id])
		}
	}
	for id := range found {
		if told[id] == nil {
			return fmt.Errorf("no fact says that %s was accepted", id)
		}
	}
	return nil
}

// whatever instant the power fails at, and whatever becomes of what was
// not synced, each message that was accepted is there and whole, none is that
// was not, and nothing delivered comes back.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
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
	losePower(t, d, 0, installed.Rounds(powerStates, fewPowerStates))
}

// the power fails once more while the spool recovers.
func TestPowerLossInRecovery(t *testing.T) {
	t.Parallel()
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
		losePower(t, second, began, installed.Rounds(powerStates, fewPowerStates)/3/first)
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
