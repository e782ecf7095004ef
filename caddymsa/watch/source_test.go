package watch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// counted reads texts, counts how often, and refuses "bad".
func counted() (*Source[string], *atomic.Int32) {
	n := new(atomic.Int32)
	return &Source[string]{Parse: func(r io.Reader, name string, _ int64, _ string) (string, error) {
		n.Add(1)
		b, err := io.ReadAll(r)
		if string(b) == "bad" {
			err = errors.New(name + ": bad")
		}
		return string(b), err
	}}, n
}

// age makes a file's last change long ago, so that its time tells one version from the next.
func age(t *testing.T, path string, d time.Duration) {
	t.Helper()
	must(t, os.Chtimes(path, time.Now().Add(-d), time.Now().Add(-d)))
}

// A file is in memory once; a reload that finds it unchanged does not read it.
func TestSource(t *testing.T) {
	s, reads := counted()
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "one")
	age(t, path, time.Hour)
	type change struct {
		text string
		err  error
	}
	changes := make(chan change, 100)
	first, err := s.Open(path, zap.NewNop(), func(text string, err error) { changes <- change{text, err} })
	must(t, err)
	for range 10 { // as reloads do: the new one opens before the old one closes
		next, err := s.Open(path, zap.NewNop(), func(text string, err error) { changes <- change{text, err} })
		must(t, err)
		must(t, first.Close())
		first = next
	}
	if reads.Load() != 1 || first.Load() != "one" {
		t.Fatalf("read %d times, %q", reads.Load(), first.Load())
	}
	age(t, path, 2*time.Hour) // touched: the content is the same
	must(t, first.Reload())
	if reads.Load() != 1 {
		t.Fatalf("parsed %d times", reads.Load())
	}
	second, err := s.Open(path, zap.NewNop(), func(text string, err error) { changes <- change{text, err} })
	must(t, err)
	write(t, path+".new", "two")
	must(t, os.Rename(path+".new", path))
	for range 2 {
		if c := <-changes; c.text != "two" || c.err != nil {
			t.Fatalf("%+v", c)
		}
	}
	if reads.Load() != 2 || first.Load() != "two" || second.Load() != "two" {
		t.Fatalf("read %d times, %q", reads.Load(), first.Load())
	}
	write(t, path+".new", "bad")
	must(t, os.Rename(path+".new", path))
	for range 2 {
		if c := <-changes; c.text != "two" || c.err == nil {
			t.Fatalf("%+v", c)
		}
	}
	if _, err := s.Open(path, zap.NewNop(), func(string, error) {}); err == nil {
		t.Error("a broken file opens")
	}
	if second.Load() != "two" {
		t.Error("what was read before does not stay")
	}
	must(t, first.Close())
	must(t, second.Close())
	must(t, second.Close())
	if len(s.files) != 0 {
		t.Error("it stays in memory")
	}
	write(t, path, "three")
	third, err := s.Open(path, zap.NewNop(), func(string, error) {})
	must(t, err)
	if third.Load() != "three" {
		t.Error(third.Load())
	}
	must(t, third.Close())
}

// A shell empties a file before it writes it: `ldapsearch > list` is not a list of nobody.
func TestSourceEmptied(t *testing.T) {
	s, _ := counted()
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "one")
	f, err := s.Open(path, zap.NewNop(), func(string, error) {})
	must(t, err)
	defer f.Close()
	write(t, path, "")
	if err := f.Reload(); err == nil || f.Load() != "one" {
		t.Errorf("%v, %q", err, f.Load())
	}
	write(t, path, "# nobody\n")
	if err := f.Reload(); err != nil || f.Load() != "# nobody\n" {
		t.Errorf("%v, %q", err, f.Load())
	}
	write(t, path+".2", "") // to begin with, an empty list is one, and stays so
	for range 2 {
		other, err := s.Open(path+".2", zap.NewNop(), func(string, error) {})
		must(t, err)
		defer other.Close()
		age(t, path+".2", time.Hour)
		must(t, other.Reload())
	}
}

func TestSourceErrors(t *testing.T) {
	s, _ := counted()
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "none"), dir} {
		if _, err := s.Open(path, zap.NewNop(), func(string, error) {}); err == nil {
			t.Error(path)
		}
	}
	if len(s.files) != 0 {
		t.Error("it stays in memory")
	}
}

func TestSourceConcurrent(t *testing.T) {
	s, _ := counted()
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "0")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				f, err := s.Open(path, zap.NewNop(), func(string, error) {})
				if err != nil {
					t.Error(err)
					return
				}
				_ = f.Load()
				_ = f.Reload()
				_ = f.Close()
			}
		})
	}
	for i := range 50 {
		write(t, path+".new", fmt.Sprint(i))
		must(t, os.Rename(path+".new", path))
	}
	wg.Wait()
	if len(s.files) != 0 {
		t.Error("it stays in memory")
	}
}

// 200 servers with a file each, in five reloads, need one watcher of the system's; all are watched.
func TestManyFiles(t *testing.T) {
	opened := 0
	h := &hub{open: func() (*fsnotify.Watcher, error) { opened++; return fsnotify.NewWatcher() }}
	before := shared
	shared = h
	t.Cleanup(func() { shared = before })
	dir := t.TempDir()
	const files = 200
	changes := make(chan string, 10*files)
	var open []io.Closer
	for range 5 {
		var next []io.Closer
		for i := range files {
			path := filepath.Join(dir, fmt.Sprint(i), "users")
			if len(open) == 0 {
				must(t, os.Mkdir(filepath.Dir(path), 0o700))
				write(t, path, "a")
			}
			w, err := Files([]string{path}, zap.NewNop(), func() { changes <- path })
			must(t, err)
			next = append(next, w)
		}
		for _, w := range open {
			must(t, w.Close())
		}
		open = next
	}
	if opened != 1 {
		t.Errorf("%d watchers of the system's", opened)
	}
	seen := make(map[string]bool)
	for i := range files {
		write(t, filepath.Join(dir, fmt.Sprint(i), "users"), "changed")
	}
	for deadline := time.After(2 * time.Minute); len(seen) < files; {
		select {
		case path := <-changes:
			seen[path] = true
		case <-deadline:
			t.Fatalf("%d of %d are watched", len(seen), files)
		}
	}
	for _, w := range open {
		must(t, w.Close())
	}
	if len(h.dirs)+len(h.names) != 0 {
		t.Errorf("left over: %d directories, %d names", len(h.dirs), len(h.names))
	}
}

// A log that grows in the same directory neither delays a change nor wakes anybody.
func TestBusyNeighbour(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "users")
	write(t, path, "a")
	must(t, shared.start())
	changes := make(chan time.Time, 10)
	w := (&watcher{
		paths: []string{path}, log: zap.NewNop(), changed: func() { changes <- time.Now() },
		hub: shared, settle: settle, patience: time.Hour, poll: time.Hour,
	}).start()
	defer func() { must(t, w.Close()) }()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				write(t, filepath.Join(dir, "log"), strings.Repeat("x", i%100))
			}
		}
	})
	time.Sleep(20 * time.Millisecond)
	write(t, path, "changed")
	select {
	case <-changes: // and not after the patience, which is an hour here
	case <-time.After(2 * time.Minute):
		t.Error("no change was seen")
	}
	close(stop)
	wg.Wait()
}
