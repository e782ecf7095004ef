//go:build unix

package spoolfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestModes(t *testing.T) {
	// Files 0600 in directories 0700, whatever the umask and whoever made the directory.
	for _, umask := range []int{0, 0o777} {
		dir := filepath.Join(t.TempDir(), "spool")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		old := syscall.Umask(umask)
		s, err := Open(dir, Options{Threshold: 2 << 10, memTable: 64 << 10})
		if err == nil {
			err = exercise(s, nil, 0, 120, 1)
		}
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // pebble tidied up
			}
			if err != nil {
				return err
			}
			seen++
			want := fs.FileMode(0o600)
			if e.IsDir() {
				want = fs.ModeDir | 0o700
			}
			for end := time.Now().Add(time.Minute); info.Mode() != want && time.Now().Before(end); time.Sleep(time.Millisecond) {
				if again, err := os.Lstat(name); err == nil { // pebble makes it at this moment
					info = again
				}
			}
			if info.Mode() != want {
				t.Errorf("umask %o: %s has mode %s, wanted %s", umask, name, info.Mode(), want)
			}
			return nil
		})
		if err != nil || seen < 12 {
			t.Errorf("%d files seen: %v", seen, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
