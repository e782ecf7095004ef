package spoolfile

import (
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// submitMany commits a message to so many recipients, with a lane for each.
func submitMany(t *testing.T, s *Store, id string, jobs int) {
	t.Helper()
	a := testAccept(id)
	a.Entry.Recipients, a.Jobs = nil, nil
	for i := range jobs {
		a.Entry.Recipients = append(a.Entry.Recipients, queue.Recipient{Address: fmt.Sprintf("u%d@example.net", i)})
	}
	for i := range jobs {
		j := queue.Job{Number: i + 1, Lane: fmt.Sprintf("relay/%d", i), Due: noon}
		if err := j.SetRecipients(a.Entry, queue.Indexes{i}); err != nil {
			t.Fatal(err)
		}
		a.Jobs = append(a.Jobs, j)
	}
	d, err := s.Create(background)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(background, a); err != nil {
		t.Fatal(err)
	}
}

// leaseMany is submitMany, and leases all the jobs.
func leaseMany(t *testing.T, s *Store, id string, jobs int) (leases []queue.Lease) {
	t.Helper()
	submitMany(t, s, id, jobs)
	for range jobs {
		l, _, err := s.Lease(background, noon, queue.Want{})
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l)
	}
	return leases
}

// third has a third of the jobs delivered, a third deferred, and a third fail with a note for the sender.
func third(l queue.Lease) *queue.Record {
	number := l.Job().Number
	r := as(l, []queue.State{queue.Delivered, queue.Pending, queue.Failed}[number%3])
	r.Facts = []journal.Fact{deliveredFact(l.Entry().ID, number)}
	if number%3 == 2 {
		r.Notes = []queue.Note{{Time: noon, Action: dsn.Failed, To: queue.Indexes{number - 1}}}
		r.NotesDue = noon
	}
	return r
}

// wantThirds looks for what came of it.
func wantThirds(t *testing.T, s *Store, id string, jobs int) {
	t.Helper()
	m, err := s.Get(background, id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Jobs {
		j := &m.Jobs[i]
		if got, want := j.Pending(), j.Number%3 == 1; got != want {
			t.Errorf("job %d: pending %t, wanted %t", j.Number, got, want)
		}
	}
	seen := make(map[int]bool)
	for _, n := range m.Status.Notes {
		seen[n.Seq] = true
	}
	if len(m.Status.Notes) != jobs/3 || len(seen) != jobs/3 || m.Status.NotesSeq != jobs/3 {
		t.Errorf("%d notes with %d numbers, the last is %d; wanted %d of each", len(m.Status.Notes), len(seen), m.Status.NotesSeq, jobs/3)
	}
	e := s.schedule.find(id)
	s.schedule.mu.Lock()
	defer s.schedule.mu.Unlock()
	if open, _ := s.schedule.open(e); open != jobs/3 || e.open() != jobs/3 {
		t.Errorf("%d and %d jobs are open, wanted %d", open, e.open(), jobs/3)
	}
}

// recordAll records side by side, and waits until all of them wait for the one that has the lock.
func recordAll(s *Store, leases []queue.Lease, first <-chan struct{}) <-chan error {
	errs := make(chan error, len(leases))
	record := func(l queue.Lease) { errs <- l.Record(background, third(l)) }
	go record(leases[0])
	<-first
	for _, l := range leases[1:] {
		go record(l)
	}
	for lock := s.locks.of(leases[0].Entry().ID); ; runtime.Gosched() {
		lock.mu.Lock()
		n := len(lock.waiting)
		lock.mu.Unlock()
		if n == len(leases)-1 {
			return errs
		}
	}
}

// Issue 11: outcomes of one message do not wait for one commit after the other, and the workers with them.
func TestOutcomesOfOneEntryShareCommits(t *testing.T) {
	s, fs := openFaulty(t)
	const jobs = 300
	leases := leaseMany(t, s, "Q1", jobs)
	var syncs atomic.Int32
	at := &stopper{stopped: make(chan struct{}), free: make(chan struct{})}
	fs.set(func(op, name string) error {
		if logCall("sync")(op, name) {
			if syncs.Add(1) == 1 {
				close(at.stopped)
				<-at.free
			}
		}
		return nil
	})
	errs := recordAll(s, leases, at.stopped)
	close(at.free)
	for range leases {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if n := syncs.Load(); n > jobs/20 { // beside theirs, those of a log that is full
		t.Errorf("%d outcomes took %d syncs", jobs, n)
	}
	wantThirds(t, s, "Q1", jobs)
}

// Whether the storage fails before or after what it had to write was written: each outcome counts once when it is recorded again.
func TestOutcomesOfOneEntryWhileStorageFails(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		t.Run(op, func(t *testing.T) {
			s, fs := openFaulty(t)
			const jobs = 90
			leases := leaseMany(t, s, "Q1", jobs)
			at := stopAt(fs, logCall("sync"))
			errs := recordAll(s, leases, at.stopped)
			var broken atomic.Bool
			broken.Store(true)
			fs.set(func(o, name string) error { // from the second commit on
				if broken.Load() && (o == op || o == "create") && strings.HasPrefix(path.Dir(name), "/spool/store") {
					return syscall.EIO
				}
				return nil
			})
			close(at.free)
			failed := 0
			for range leases {
				if err := <-errs; err != nil {
					failed++
				}
			}
			if failed != jobs-1 {
				t.Errorf("%d of %d outcomes could not be recorded on a broken disk", failed, jobs)
			}
			drain(s)
			broken.Store(false)
			untilRevived(s)
			for _, l := range leases[1:] { // in whatever order
				if err := l.Record(background, third(l)); err != nil {
					t.Errorf("job %d: the disk is well again: %v", l.Job().Number, err)
				}
			}
			wantThirds(t, s, "Q1", jobs)
		})
	}
}

// The one that ends the entry may be among them.
func TestOutcomesOfOneEntryEndIt(t *testing.T) {
	s, fs := openFaulty(t)
	const jobs = 250
	leases := leaseMany(t, s, "Q1", jobs)
	at := stopAt(fs, logCall("sync"))
	errs := make(chan error, jobs)
	record := func(l queue.Lease) { errs <- l.Record(background, as(l, queue.Delivered)) }
	go record(leases[0])
	<-at.stopped
	for _, l := range leases[1:] {
		go record(l)
	}
	close(at.free)
	for range leases {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	wantEntries(t, s)
	eng, err := s.engine()
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.each(jobPrefix, "", func(id string, _ []byte) bool { t.Errorf("job %q is left", id); return false }); err != nil {
		t.Error(err)
	}
}
