package spoolfile

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Messages that are being written when another is committed share its sync; one that is alone waits for nobody, and
// neither for one that is aborted nor for one so large that it goes to a file.
func TestCommitsWaitForCompany(t *testing.T) {
	fs := &syncCounter{FS: privateFS{vfs.Default}}
	s, err := Open(t.TempDir(), Options{FS: fs, Threshold: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.current.patience = time.Hour
	draft := func() queue.Draft {
		t.Helper()
		d, err := s.Create(background)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	commit := func(id string, d queue.Draft) {
		t.Helper()
		if err := d.Commit(background, testAccept(id)); err != nil {
			t.Fatal(err)
		}
	}
	aborted, large := draft(), draft()
	aborted.Abort()
	_, _ = large.Write(make([]byte, 100<<10))
	commit("alone", draft())
	large.Abort()

	before := fs.n.Load()
	a, b := draft(), draft()
	done := make(chan error)
	go func() { done <- a.Commit(background, testAccept("a")) }()
	for len(s.current.changes) > 0 || s.coming.Load() == 2 {
		time.Sleep(time.Millisecond)
	}
	commit("b", b)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := fs.n.Load() - before; n != 1 {
		t.Errorf("%d syncs for two messages", n)
	}
}
