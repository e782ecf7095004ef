package watch

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// fake is a watcher in a bubble of fake time, whose events come from the test.
type fake struct {
	t      *testing.T
	path   string
	events chan struct{}
	began  time.Time

	mu    sync.Mutex
	calls []time.Duration // when changed was called
}

// bubble runs test with a watcher of one file that exists. The file's times are fake too.
func bubble(t *testing.T, test func(f *fake)) {
	path := filepath.Join(t.TempDir(), "users")
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, path: path, events: make(chan struct{}), began: time.Now()}
		f.write("a", time.Now().Add(-time.Hour))
		w := &watcher{
			paths: []string{path}, log: zap.NewNop(), changed: f.changed,
			settle: settle, patience: patience, poll: poll,
			events: f.events, stop: make(chan struct{}), done: make(chan struct{}),
		}
		w.seen = w.state()
		go w.run()
		test(f)
		must(t, w.Close())
	})
}

func (f *fake) changed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, time.Since(f.began))
}

func (f *fake) write(text string, modified time.Time) {
	write(f.t, f.path, text)
	must(f.t, os.Chtimes(f.path, modified, modified))
}

func (f *fake) want(calls ...time.Duration) {
	f.t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.calls, calls) {
		f.t.Fatalf("changed was called at %v, want %v", f.calls, calls)
	}
}

// Many steps of one change are one change.
func TestSteps(t *testing.T) {
	bubble(t, func(f *fake) {
		for i := range 10 {
			f.write("changed"[:i%7+1], time.Now())
			f.events <- struct{}{}
			time.Sleep(settle / 2)
		}
		f.want()
		time.Sleep(time.Minute)
		f.want(9*settle/2 + settle)
	})
}

// A directory that is never quiet, such as /tmp, does not hide a change.
func TestBusyDirectory(t *testing.T) {
	bubble(t, func(f *fake) {
		f.write("changed", time.Now())
		for range 100 {
			f.events <- struct{}{}
			time.Sleep(settle / 2)
		}
		f.want(patience)
	})
}

// A file that is always being written is read now and then.
func TestBusyFile(t *testing.T) {
	bubble(t, func(f *fake) {
		for i := range 50 {
			f.write("changed"[:i%7+1], time.Now())
			f.events <- struct{}{}
			time.Sleep(settle / 2)
		}
		time.Sleep(time.Minute)
		f.want(patience, 49*settle/2+settle)
	})
}

// Without any event a change is found, and not while it is being written.
func TestPoll(t *testing.T) {
	bubble(t, func(f *fake) {
		time.Sleep(10 * time.Second)
		f.write("changed", time.Now())
		time.Sleep(time.Minute)
		f.want(poll)
		f.write("ch", f.began.Add(3*poll-settle/2))
		time.Sleep(time.Until(f.began.Add(3*poll + settle/4)))
		f.write("changed again", f.began.Add(3*poll+settle/4))
		time.Sleep(time.Minute)
		f.want(poll, 3*poll+2*settle)
		must(t, os.Remove(f.path))
		time.Sleep(time.Minute)
		f.want(poll, 3*poll+2*settle, 6*poll)
	})
}

func TestNothingChanged(t *testing.T) {
	bubble(t, func(f *fake) {
		f.events <- struct{}{}
		time.Sleep(time.Hour)
		f.want()
	})
}
