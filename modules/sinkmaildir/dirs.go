package sinkmaildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// openBase opens the directory that no delivery leaves, and makes it if needed.
func openBase(base string) (*os.Root, error) {
	root, err := os.OpenRoot(base)
	if !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	if err := makeBase(base); err != nil {
		return nil, err
	}
	return os.OpenRoot(base)
}

// makeBase makes a directory with its parents, each entry synced.
func makeBase(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeBase(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		if errors.Is(err, fs.ErrExist) { // someone else was quicker
			return nil
		}
		return err
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	return syncAndClose(parent)
}

// openMaildir opens the Maildir dir below base, and makes it if needed.
func openMaildir(base *os.Root, dir string) (*os.Root, error) {
	// tmp is made last: where it is, the rest is too.
	_, err := base.Lstat(path.Join(dir, "tmp"))
	if errors.Is(err, fs.ErrNotExist) {
		err = makeMaildir(base, dir)
	}
	if err != nil {
		return nil, err
	}
	return base.OpenRoot(dir)
}

// makeMaildir makes a Maildir with its parents below root, each entry synced:
// a message is no safer than the directories above it.
func makeMaildir(root *os.Root, dir string) error {
	made := "."
	if dir != "." {
		for element := range strings.SplitSeq(dir, "/") {
			made = path.Join(made, element)
			if err := makeDir(root, made); err != nil {
				return err
			}
		}
	}
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := makeDir(root, path.Join(dir, sub)); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes one directory below root. It syncs the parent even if the
// directory was there: who made it may not have come to that yet.
func makeDir(root *os.Root, dir string) error {
	if err := root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(root, path.Dir(dir))
}

func syncDir(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	return syncAndClose(f)
}

func syncAndClose(dir *os.File) error {
	err := dir.Sync()
	if cerr := dir.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
