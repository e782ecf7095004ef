package spoolfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func openFaulty(t *testing.T) (*Store, *faulty) {
	t.Helper()
	fs := newFaulty(vfs.NewMem())
	s, err := Open("/spool", Options{
		FS: fs, Threshold: 2 << 10, Reserve: 1000, Ballast: 100 << 10, Retry: time.Millisecond, memTable: 64 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fs.set(nil)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, fs
}

func submit(s *Store, id string) error {
	d, err := s.Create(background)
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(testBody(id)); err != nil {
		return err
	}
	return d.Commit(background, testAccept(id))
}

func wantEntries(t *testing.T, s *Store, want ...string) {
	t.Helper()
	var got []string
	if err := s.List(background, "", func(m *queue.EntryView) bool { got = append(got, m.Entry.ID); return true }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("entries %q, wanted %q", got, want)
	}
}

func wantBodies(t *testing.T, s *Store, n int) {
	t.Helper()
	names, err := s.fs.List(s.path("bodies"))
	if err != nil || len(names) != n {
		t.Errorf("%d body files, wanted %d: %v", len(names), n, err)
	}
}

// untilRevived waits for the storage to be open again.
func untilRevived(s *Store) {
	for range s.notify {
		if _, err := s.engine(); err == nil {
			return
		}
	}
}

func drain(s *Store) {
	select {
	case <-s.notify:
	default:
	}
}

const (
	small = "Q002" // 5 lines
	large = "Q014" // 197 lines: a file of its own
)

func TestReserve(t *testing.T) {
	s, fs := openFaulty(t)
	if err := submit(s, small); err != nil {
		t.Fatal(err)
	}
	fs.avail.Store(999)
	if err := submit(s, large); !errors.Is(err, queue.ErrFull) {
		t.Errorf("without room: %v, wanted ErrFull", err)
	}
	// What is there can still be delivered.
	l, _, err := s.Lease(background, noon, queue.Want{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Record(background, as(l, queue.Delivered)); err != nil {
		t.Error(err)
	}
	fs.avail.Store(1 << 30)
	if err := submit(s, large); err != nil {
		t.Errorf("with room again: %v", err)
	}
	wantEntries(t, s, large)
}

func TestFullWhileABodyIsWritten(t *testing.T) {
	s, fs := openFaulty(t)
	for _, op := range []string{"create", "write", "sync"} {
		fs.set(func(o, name string) error {
			if o == op && strings.HasSuffix(name, bodySuffix) {
				return &pathError{syscall.ENOSPC}
			}
			return nil
		})
		if err := submit(s, large); !errors.Is(err, queue.ErrFull) {
			t.Errorf("%s: %v, wanted ErrFull", op, err)
		}
		wantEntries(t, s)
		wantBodies(t, s, 0)
	}
	if err := submit(s, small); err != nil { // the store is as it was
		t.Error(err)
	}
	fs.set(nil)
	if err := submit(s, large); err != nil {
		t.Error(err)
	}
	wantEntries(t, s, small, large)
}

// pathError wraps as the file system's errors are wrapped.
type pathError struct{ error }

func (p *pathError) Unwrap() error { return p.error }

// A log that finds the disk full gets the room of the ballast.
func TestBallast(t *testing.T) {
	s, fs := openFaulty(t)
	if _, err := fs.Stat("/spool/ballast"); err != nil {
		t.Fatal(err)
	}
	fs.set(func(op, name string) error {
		if _, err := fs.Stat("/spool/ballast"); err == nil && op == "write" && strings.HasSuffix(name, ".log") {
			return syscall.ENOSPC
		}
		return nil
	})
	if err := submit(s, small); err != nil {
		t.Errorf("a commit with a ballast to give up: %v", err)
	}
	if _, err := fs.Stat("/spool/ballast"); err == nil {
		t.Error("the ballast is still there")
	}
	fs.set(nil)
	if err := submit(s, large); err != nil {
		t.Error(err)
	}
	if _, err := fs.Stat("/spool/ballast"); err != nil {
		t.Errorf("with room again there is no new ballast: %v", err)
	}
}

// Pebble would end the process; the spool refuses messages until it works again.
func TestStorageFails(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		full bool
	}{
		{"no room", syscall.ENOSPC, true},
		{"quota", syscall.EDQUOT, true},
		{"broken", syscall.EIO, false},
	} {
		for _, op := range []string{"write", "sync"} {
			t.Run(c.name+" "+op, func(t *testing.T) {
				s, fs := openFaulty(t)
				for _, id := range []string{"Q000", "Q001", "Q013"} {
					if err := submit(s, id); err != nil {
						t.Fatal(err)
					}
				}
				delivered, _, err := s.Lease(background, noon, queue.Want{})
				if err != nil {
					t.Fatal(err)
				}
				again, _, err := s.Lease(background, noon, queue.Want{})
				if err != nil {
					t.Fatal(err)
				}
				var broken atomic.Bool
				broken.Store(true)
				fs.set(func(o, name string) error {
					if broken.Load() && (o == op || o == "create") && strings.HasPrefix(path.Dir(name), "/spool/store") {
						return c.err
					}
					return nil
				})
				// The first one may have been written; none of them may stay.
				for _, id := range []string{small, large, "Q020"} {
					err := submit(s, id)
					if err == nil {
						t.Fatal("committed to a broken disk")
					}
					if errors.Is(err, queue.ErrFull) != c.full {
						t.Errorf("%v: ErrFull %t, wanted %t", err, !c.full, c.full)
					}
				}
				// Outcomes are kept by the caller until they can be stored.
				done, later := as(delivered, queue.Delivered), as(again, queue.Pending)
				later.Jobs[0].Attempts, later.Jobs[0].Due = 1, noon.Add(time.Hour)
				if err := delivered.Record(background, done); err == nil {
					t.Error("recorded on a broken disk")
				}
				if err := again.Record(background, later); err == nil {
					t.Error("recorded on a broken disk")
				}
				if _, _, err := s.Lease(background, noon, queue.Want{}); err == nil {
					t.Error("leased from a broken disk")
				}
				drain(s)
				broken.Store(false)
				untilRevived(s)

				if err := submit(s, small); err != nil {
					t.Errorf("the disk is well again: %v", err)
				}
				for l, r := range map[queue.Lease]*queue.Record{delivered: done, again: later} {
					if err := l.Record(background, r); err != nil {
						t.Errorf("the disk is well again: %v", err)
					}
				}
				now := noon.Add(time.Minute)
				var got []string
				for {
					l, _, err := s.Lease(background, now, queue.Want{})
					if err != nil {
						break
					}
					r, err := l.Open(background)
					if err != nil {
						t.Fatal(err)
					}
					b, _ := io.ReadAll(r)
					r.Close()
					if !bytes.Equal(b, append([]byte(testHeader), testBody(l.Entry().ID)...)) {
						t.Errorf("%s is not whole", l.Entry().ID)
					}
					got = append(got, l.Entry().ID)
				}
				if want := []string{small, "Q013"}; fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("due are %q, wanted %q", got, want)
				}
				wantEntries(t, s, "Q001", small, "Q013")
				if e, err := s.Get(background, "Q001"); err != nil || attemptsOf(e) != 1 {
					t.Errorf("%+v, %v: the outcome was not stored", e, err)
				}
				wantBodies(t, s, 1)
			})
		}
	}
}

// A failure in the background is found by nobody who waits for it.
func TestFlushFails(t *testing.T) {
	s, fs := openFaulty(t)
	fs.set(func(op, name string) error {
		if strings.HasSuffix(name, ".sst") {
			return syscall.ENOSPC
		}
		return nil
	})
	var ids []string
	eng, err := s.engine()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("Q%05d", i)
		if err := submit(s, id); err != nil {
			if !errors.Is(err, queue.ErrFull) {
				t.Fatal(err)
			}
			break
		}
		ids = append(ids, id)
	}
	<-eng.failed
	drain(s)
	fs.set(nil)
	untilRevived(s)
	if err := submit(s, "Q99999"); err != nil {
		t.Error(err)
	}
	wantEntries(t, s, append(ids, "Q99999")...)
}

// What the store gave up must not touch the files of its successor.
func TestFence(t *testing.T) {
	f := newFence(vfs.NewMem())
	file, err := f.Create("/a", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	f.shut()
	_, write := file.Write([]byte("x"))
	_, create := f.Create("/b", vfs.WriteCategoryUnspecified)
	_, open := f.OpenReadWrite("/b", vfs.WriteCategoryUnspecified)
	_, reuse := f.ReuseForWrite("/a", "/b", vfs.WriteCategoryUnspecified)
	for i, err := range []error{write, create, open, reuse, f.Rename("/a", "/b"), f.Remove("/a"), f.RemoveAll("/a"), f.Link("/a", "/b")} {
		if !errors.Is(err, errFenced) {
			t.Errorf("call %d: %v, wanted errFenced", i, err)
		}
	}
}
