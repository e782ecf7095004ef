package watch

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

// watched starts a watcher whose changes can be waited for.
func watched(t *testing.T, paths ...string) <-chan struct{} {
	t.Helper()
	must(t, shared.start())
	changes := make(chan struct{}, 1000)
	w := (&watcher{
		paths: paths, log: zap.NewNop(), changed: func() { changes <- struct{}{} },
		hub: shared, settle: time.Millisecond, patience: time.Minute, poll: time.Hour,
	}).start()
	t.Cleanup(func() { must(t, w.Close()) })
	return changes
}

func await(t *testing.T, changes <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(2 * time.Minute):
		t.Fatal("no change was seen after", what)
	}
	for len(changes) > 0 {
		<-changes
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "users")
	write(t, path, "a")
	changes := watched(t, path)

	write(t, path, "in place")
	await(t, changes, "writing in place")

	write(t, path+".new", "renamed")
	must(t, os.Rename(path+".new", path))
	await(t, changes, "a rename")

	must(t, os.Remove(path))
	await(t, changes, "removal")
	write(t, path, "made again")
	await(t, changes, "making it again")
}

// Kubernetes mounts ..data -> a directory by date, and swaps that link.
func TestSymlinkSwap(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"v1", "v2", "v3"} {
		must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		write(t, filepath.Join(dir, version, "users"), version)
	}
	data := filepath.Join(dir, "..data")
	must(t, os.Symlink("v1", data))
	path := filepath.Join(dir, "users")
	must(t, os.Symlink("..data/users", path))
	changes := watched(t, path)
	for _, version := range []string{"v2", "v3"} {
		must(t, os.Symlink(version, data+"_tmp"))
		must(t, os.Rename(data+"_tmp", data))
		await(t, changes, "a swap to "+version)
	}
	write(t, filepath.Join(dir, "v3", "users"), "in place")
	await(t, changes, "writing where the link leads")
}

// A deployment swaps the link to a whole release, away from the file's own directory.
func TestDirectorySymlinkSwap(t *testing.T) {
	dir := t.TempDir()
	for _, release := range []string{"1", "2"} {
		must(t, os.MkdirAll(filepath.Join(dir, "releases", release, "conf"), 0o700))
		write(t, filepath.Join(dir, "releases", release, "conf", "users"), release)
	}
	current := filepath.Join(dir, "current")
	must(t, os.Symlink("releases/../releases/1", current))
	changes := watched(t, filepath.Join(current, "conf", "users"))
	must(t, os.Symlink(filepath.Join(dir, "releases", "2"), current+".new"))
	must(t, os.Rename(current+".new", current))
	await(t, changes, "a swap of the directory's link")
	write(t, filepath.Join(dir, "releases", "2", "conf", "users"), "in place")
	await(t, changes, "writing where the link leads")
}

// The directory is moved away, and another takes its name.
func TestDirectoryReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "conf")
	path := filepath.Join(dir, "users")
	must(t, os.Mkdir(dir, 0o700))
	write(t, path, "a")
	changes := watched(t, path)
	must(t, os.Rename(dir, dir+".old"))
	await(t, changes, "moving the directory away")
	must(t, os.Mkdir(dir, 0o700))
	write(t, path, "b")
	await(t, changes, "making it again")
	write(t, path, "in place")
	await(t, changes, "writing in place")
}

func TestDirectoryMadeLater(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "c", "users")
	changes := watched(t, path)
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	write(t, path, "a")
	await(t, changes, "making directories and file")
	write(t, path, "in place")
	await(t, changes, "writing in place")
}

func TestSeveralFiles(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	changes := watched(t, one, two)
	for _, path := range []string{one, two, one} {
		write(t, path+".new", "changed")
		must(t, os.Rename(path+".new", path))
		await(t, changes, "a change of "+path)
	}
}

func TestCloseTwice(t *testing.T) {
	w, err := Files([]string{filepath.Join(t.TempDir(), "none")}, zap.NewNop(), func() {})
	must(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
