package spoolfile

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	o := Options{journalPause: 100 * time.Millisecond}
	if !installed.InCI() {
		o.FS = newFaulty(vfs.NewMem()) // some thousand syncs of a disk take half a minute
	}
	msatest.Spool(t, func(t testing.TB, dir string) queue.OpenSpool {
		if o.FS != nil {
			must(o.FS.MkdirAll(dir, 0o700))
		}
		s, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestSecondOpen(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, link} {
		_, err := Open(d, Options{})
		want := fmt.Sprintf("spool directory %s is in use by process %d; stop that one first, or give this one a directory of its own", d, os.Getpid())
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("a second one: %v, wanted %q", err, want)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childDir+"_ROUND=0")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "is in use by process") {
		t.Errorf("another process: %v, %s", err, out)
	}
	if err := submit(s, small); err != nil { // the refused ones did no harm
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantEntries(t, s, small)
}

// What a crash left in the directory of the bodies goes away, and nothing else does.
func TestOrphans(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(dir, Options{Threshold: 2 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if err := submit(s, large); err != nil {
		t.Fatal(err)
	}
	d, err := s.Create(background)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write(testBody(large)); err != nil { // a draft that nobody ends
		t.Fatal(err)
	}
	wantBodies(t, s, 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "bodies", "README")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open()
	wantBodies(t, s, 2) // one body, one file of someone else
	wantEntries(t, s, large)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// A body that was lost keeps its entry for the operator, and stops nobody.
	if err := os.Remove(filepath.Join(dir, "bodies", "1.body")); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	if err := submit(s, small); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, s, small, large)
	l, _, err := s.Lease(background, noon, queue.Want{})
	if err != nil || l.Entry().ID != small {
		t.Errorf("the whole message is not delivered: %v", err)
	}
	if _, _, err := s.Lease(background, noon, queue.Want{}); !errors.Is(err, queue.ErrNoneDue) {
		t.Errorf("a message without a body: %v", err)
	}
	if err := deleted(s.Delete(background, large)); err != nil {
		t.Error(err)
	}
	wantEntries(t, s, small)
}

// A small message costs little memory, and a large one no more than the threshold.
func TestDraftMemory(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var drafts []*draft
	for i, size := range []int{1, 4 << 10, 9 << 10, 40 << 10, 3 << 20} {
		q, err := s.Create(background)
		if err != nil {
			t.Fatal(err)
		}
		d := q.(*draft)
		if _, err := d.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if want := []int{8 << 10, 8 << 10, 32 << 10, 128 << 10, 128 << 10}[i]; cap(d.buf) != want {
			t.Errorf("%d octets take %d of memory, wanted %d", size, cap(d.buf), want)
		}
		drafts = append(drafts, d)
	}
	for _, d := range drafts {
		d.Abort()
	}
}

// Concurrent commits share their syncs.
func TestSyncsAreShared(t *testing.T) {
	d := newDisk()
	s, err := Open("/spool", Options{FS: d})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const messages = 100
	before := len(d.log)
	// Hold the disk until all have asked: what then comes together goes together.
	d.mu.Lock()
	errs := make(chan error)
	for i := range messages {
		go func() { errs <- submit(s, fmt.Sprintf("Q%03d", i%17*100+i)) }()
	}
	for s.schedule.len() < messages {
		runtime.Gosched()
	}
	for range 1000 { // from there it is a step to the committer
		runtime.Gosched()
	}
	d.mu.Unlock()
	for range messages {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	syncs := 0
	for _, e := range d.log[before:] {
		if e.kind == syncFile {
			syncs++
		}
	}
	if syncs > messages*3/10 {
		t.Errorf("%d messages that came together took %d syncs", messages, syncs)
	}
}

func deleted(_ int, err error) error { return err }
