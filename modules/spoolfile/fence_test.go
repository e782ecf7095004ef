package spoolfile

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// stopper holds calls to the file system until they are let go.
type stopper struct {
	stopped chan struct{} // one holds
	free    chan struct{} // closed to let it go
	once    atomic.Bool
}

// stopAt makes the first call that match holds for wait.
func stopAt(fs *faulty, match func(op, name string) bool) *stopper {
	s := &stopper{stopped: make(chan struct{}), free: make(chan struct{})}
	fs.set(func(op, name string) error {
		if match(op, name) && s.once.CompareAndSwap(false, true) {
			close(s.stopped)
			<-s.free
		}
		return nil
	})
	return s
}

// afterFailure waits until the failed engine has a successor, or the store does not open for now.
func afterFailure(s *Store, eng *engine) {
	for {
		s.mu.Lock()
		over := s.current != eng || s.stuck
		s.mu.Unlock()
		if over {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func logCall(want string) func(op, name string) bool {
	return func(op, name string) bool { return op == want && strings.HasSuffix(name, ".log") }
}

// What is being written when damage is met, and is acknowledged when it has been, is in the store that takes the
// place of the damaged one: nobody makes that before it has been written. The same holds for a store that is
// opened again as it is.
func TestAcknowledgedWhileStorageFails(t *testing.T) {
	for _, cause := range []error{pebble.ErrCorruption, errors.New("the disk is odd")} {
		for _, op := range []string{"write", "sync"} {
			t.Run(fmt.Sprintf("%v, %s", cause, op), func(t *testing.T) {
				defer func(d time.Duration) { lastWords = d }(lastWords)
				lastWords = 50 * time.Millisecond
				s, fs := openFaulty(t)
				if err := submit(s, "Q1"); err != nil {
					t.Fatal(err)
				}
				eng, err := s.engine()
				if err != nil {
					t.Fatal(err)
				}
				at := stopAt(fs, logCall(op))
				c := &change{writes: []edit{set(bookKey(bookCursor, "test"), []byte("1.0"))}, done: make(chan error, 1), patient: true}
				eng.changes <- c // as commit does, which is told at once that it is in doubt
				<-at.stopped
				eng.fail(cause)
				afterFailure(s, eng)
				close(at.free)
				if err := <-c.done; err != nil {
					t.Fatal(err)
				}
				fs.set(nil)
				untilRevived(s)
				if p, err := s.Cursor(background, "test"); err != nil || p != "1.0" {
					t.Errorf("%q, %v: what was acknowledged is lost", p, err)
				}
				wantEntries(t, s, "Q1")
			})
		}
	}
}

// A client that was told that its message was not taken is right, even if it is told when the storage is open again.
func TestRefusedLate(t *testing.T) {
	s, _ := openFaulty(t)
	old, err := s.engine()
	if err != nil {
		t.Fatal(err)
	}
	if err := submit(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	drain(s)
	old.fail(errors.New("the disk is odd"))
	untilRevived(s)
	s.disown("Q1", disowned{c: new(change)}, old)
	eng, err := s.engine()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := eng.get(envelopeKey("Q1")); !errors.Is(err, pebble.ErrNotFound) {
		t.Errorf("it is stored: %v", err)
	}
}

// A message that was delivered while damage was met is not lost, and its facts are there once.
func TestDeliveredWhileDamageIsMet(t *testing.T) {
	s, fs := openFaulty(t)
	if err := submit(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	l, _, err := s.Lease(background, noon, queue.Want{})
	if err != nil {
		t.Fatal(err)
	}
	eng, err := s.engine()
	if err != nil {
		t.Fatal(err)
	}
	at := stopAt(fs, logCall("write"))
	record := &queue.Record{At: noon, Remove: true, Facts: []journal.Fact{{ID: "Q1", Time: noon, What: journal.Delivered}}}
	done := make(chan error)
	go func() { done <- l.Record(background, record) }()
	<-at.stopped
	eng.fail(pebble.ErrCorruption)
	if err := <-done; !isDown(err) {
		t.Errorf("record: %v", err)
	}
	close(at.free)
	untilRevived(s)
	if n := s.Damaged(); n != 0 {
		t.Errorf("%d messages are said to be damaged", n)
	}
	if err := l.Record(background, record); err != nil {
		t.Error(err)
	}
	wantEntries(t, s)
	if got := story(queryFacts(t, s, &journal.Query{ID: "Q1"})); got != "delivered Q1" {
		t.Errorf("the journal has %q", got)
	}
}

// A disk that fails while a log is changed for another one, which pebble would end the process for, or while the
// storage is closed, is a failure as any other.
func TestLogCannotBeChanged(t *testing.T) {
	for _, op := range []string{"write", "sync", "create"} {
		t.Run(op, func(t *testing.T) {
			s, fs := openFaulty(t)
			if err := submit(s, "Q1"); err != nil {
				t.Fatal(err)
			}
			eng, err := s.engine()
			if err != nil {
				t.Fatal(err)
			}
			match := logCall(op)
			fs.set(func(op, name string) error {
				if match(op, name) {
					return syscall.EIO
				}
				return nil
			})
			if err := eng.flush(); err == nil || !isDown(err) {
				t.Errorf("flush: %v", err)
			}
			fs.set(nil)
			afterFailure(s, eng)
			untilRevived(s)
			wantEntries(t, s, "Q1")
		})
		t.Run(op+", closed", func(t *testing.T) {
			fs := newFaulty(vfs.NewMem())
			s := mustOpen(t, "/spool", Options{FS: fs})
			if err := submit(s, "Q1"); err != nil {
				t.Fatal(err)
			}
			match := logCall(op)
			fs.set(func(op, name string) error {
				if match(op, name) {
					return syscall.EIO
				}
				return nil
			})
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			fs.set(nil)
			wantEntries(t, mustOpen(t, "/spool", Options{FS: fs}), "Q1")
		})
	}
}

// The lock is kept while something that was begun may still change the files.
func TestCloseWhileDiskHangs(t *testing.T) {
	defer func(d time.Duration) { lastWords = d }(lastWords)
	lastWords = 20 * time.Millisecond
	fs := newFaulty(vfs.NewMem())
	s, err := Open("/spool", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	at := stopAt(fs, logCall("write"))
	done := make(chan error)
	go func() { done <- submit(s, "Q1") }()
	<-at.stopped
	eng := s.current
	eng.fail(errors.New("the disk is odd"))
	if err := <-done; err == nil {
		t.Error("it was acknowledged")
	}
	if err := s.Close(); !errors.Is(err, errBusy) {
		t.Error(err)
	}
	close(at.free)
	<-eng.fs.still
	_ = s.lock.Close()
}
