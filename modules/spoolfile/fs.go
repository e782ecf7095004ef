package spoolfile

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
)

// privateFS is the operating system's file system with files 0600 in
// directories 0700, whatever the umask.
type privateFS struct{ vfs.FS }

func private(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, 0o600); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (p privateFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, c)
	return private(f, name, err)
}

func (p privateFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := p.FS.OpenReadWrite(name, c, o...)
	return private(f, name, err)
}

func (p privateFS) MkdirAll(dir string, _ os.FileMode) error {
	if err := p.FS.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}

func (p privateFS) Lock(name string) (io.Closer, error) { return lockFile(name) }

// errFenced is what a store that failed gets for everything it still tries.
var errFenced = errors.New("the store was given up after a failure")

// fence is the file system that pebble sees. Its use can be ended, so that a store
// that failed and cannot be closed does not touch the files that its successor
// has opened. Its locks do nothing: the spool holds one for the whole directory.
//
// Pebble's markers say by their names which manifest is the one to read. It makes
// a marker before the manifest's name is synced, and removes the old one before
// the new one's is, which is safe where names reach the disk in order (ext4, XFS,
// Btrfs) and nowhere else. Here the directory is synced in between.
type fence struct {
	vfs.FS
	down atomic.Bool
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

func (f *fence) check() error {
	if f.down.Load() {
		return errFenced
	}
	return nil
}

// order makes the names in a directory durable before a marker in it changes.
func (f *fence) order(name string) error {
	if !strings.HasPrefix(f.FS.PathBase(name), "marker.") {
		return nil
	}
	return durable.SyncDir(f.FS.OpenDir, f.FS.PathDir(name))
}

func (f *fence) file(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &fencedFile{file, f}, nil
}

func (f *fence) Lock(string) (io.Closer, error) { return nopCloser{}, nil }

func (f *fence) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if err := f.order(name); err != nil {
		return nil, err
	}
	return f.file(f.FS.Create(name, c))
}

func (f *fence) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	return f.file(f.FS.OpenReadWrite(name, c, o...))
}

func (f *fence) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	return f.file(f.FS.ReuseForWrite(from, to, c))
}

func (f *fence) Link(from, to string) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.FS.Link(from, to)
}

func (f *fence) Rename(from, to string) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *fence) Remove(name string) error {
	if err := f.check(); err != nil {
		return err
	}
	if err := f.order(name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f *fence) RemoveAll(name string) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.FS.RemoveAll(name)
}

func (f *fence) Unwrap() vfs.FS { return f.FS }

type fencedFile struct {
	vfs.File
	f *fence
}

func (f *fencedFile) Write(p []byte) (int, error) {
	if err := f.f.check(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *fencedFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.f.check(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

// isFull reports whether err says that there is no room on the disk.
func isFull(err error) bool {
	return vfs.IsNoSpaceError(err) || errors.Is(err, syscall.EDQUOT)
}
