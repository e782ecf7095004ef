package watch

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
)

// watched starts a watcher whose changes can be waited for.
func watched(t *testing.T, paths ...string) <-chan struct{} {
	t.Helper()
	changes := make(chan struct{}, 100)
	w, err := files(paths, zap.NewNop(), func() { changes <- struct{}{} }, time.Millisecond, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return changes
}

func await(t *testing.T, changes <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(20 * time.Second):
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

func TestPoll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "a")
	changes := make(chan struct{}, 1)
	w, err := files([]string{path}, zap.NewNop(), func() { changes <- struct{}{} }, time.Hour, time.Millisecond)
	must(t, err)
	defer w.Close()
	write(t, path, "changed")
	await(t, changes, "a poll")
}

func TestCloseTwice(t *testing.T) {
	w, err := Files([]string{filepath.Join(t.TempDir(), "none")}, zap.NewNop(), func() {})
	must(t, err)
	must(t, w.Close())
	must(t, w.Close())
}
