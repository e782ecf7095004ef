package sinkmaildir

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
)

// openBase opens the directory that no delivery leaves, and makes it if needed.
func openBase(base string) (*os.Root, error) {
	root, err := os.OpenRoot(base)
	if !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	if err := durable.MkdirAll(base, 0o700); err != nil {
		return nil, err
	}
	return os.OpenRoot(base)
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

// makeMaildir makes a Maildir with its parents below root, each name synced:
// a message is not safer than the directories above it.
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
	return durable.SyncDir(root.Open, path.Dir(dir))
}
