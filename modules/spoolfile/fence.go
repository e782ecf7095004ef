package spoolfile

import (
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
)

// errFenced is what a store that failed gets for everything it still tries.
var errFenced = errors.New("the store was given up after a failure")

// fence is the file system that pebble sees. Its use can be ended, so that a store
// that failed and cannot be closed does not touch the files that its successor
// has opened. Its locks do nothing: the spool holds one for the whole directory.
//
// What pebble has begun when its use ends cannot be called back. It may be a commit that is acknowledged
// when it has ended, so nobody may read the files to make a new store of them before: see still.
//
// Pebble's markers say by their names which manifest is the one to read. It makes
// a marker before the manifest's name is synced, and removes the old one before
// the new one's is, which is safe where names reach the disk in order (ext4, XFS,
// Btrfs) and nowhere else. Here the directory is synced in between.
type fence struct {
	vfs.FS
	down  atomic.Bool
	use   sync.RWMutex // held to read by what changes files
	once  sync.Once
	still chan struct{} // closed when the use has ended, and all that was begun

	// fatal is told of an error that pebble is not to see. It panics when a log cannot be changed for another one,
	// and has then let go of a lock that is let go of again, which ends the process whoever recovers.
	fatal atomic.Pointer[func(error)]
}

func newFence(fs vfs.FS) *fence { return &fence{FS: fs, still: make(chan struct{})} }

// shut ends the use.
func (f *fence) shut() {
	f.once.Do(func() {
		f.down.Store(true)
		go func() {
			f.use.Lock()
			defer f.use.Unlock()
			close(f.still)
		}()
	})
}

// pass does what changes files.
func (f *fence) pass(op func() error) error {
	if f.down.Load() { // does not wait for what was begun
		return errFenced
	}
	f.use.RLock()
	defer f.use.RUnlock()
	if f.down.Load() {
		return errFenced
	}
	return op()
}

// spare returns an error of a log, unless it is one that pebble is not to see: then it never returns.
func (f *fence) spare(err error) error {
	if err != nil {
		if fatal := f.fatal.Load(); fatal != nil {
			(*fatal)(err)
			select {}
		}
	}
	return err
}

// spareLog is spare if a file is a log.
func (f *fence) spareLog(name string, err error) error {
	if strings.HasSuffix(name, ".log") {
		return f.spare(err)
	}
	return err
}

// order makes the names in a directory durable before a marker in it changes.
func (f *fence) order(name string) error {
	if !strings.HasPrefix(f.FS.PathBase(name), "marker.") {
		return nil
	}
	return durable.SyncDir(f.FS.OpenDir, f.FS.PathDir(name))
}

// open has a file be opened for writing.
func (f *fence) open(name string, open func() (vfs.File, error)) (file vfs.File, err error) {
	if err := f.spareLog(name, f.pass(func() error {
		file, err = open()
		return err
	})); err != nil {
		return nil, err
	}
	return &fencedFile{file, f, name}, nil
}

func (f *fence) Lock(string) (io.Closer, error) { return nopCloser{}, nil }

func (f *fence) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(name, func() (vfs.File, error) {
		if err := f.order(name); err != nil {
			return nil, err
		}
		return f.FS.Create(name, c)
	})
}

func (f *fence) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.open(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

func (f *fence) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(to, func() (vfs.File, error) { return f.FS.ReuseForWrite(from, to, c) })
}

func (f *fence) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &fencedDir{dir, f}, nil
}

func (f *fence) Link(from, to string) error {
	return f.pass(func() error { return f.FS.Link(from, to) })
}

func (f *fence) Rename(from, to string) error {
	return f.pass(func() error { return f.FS.Rename(from, to) })
}

func (f *fence) Remove(name string) error {
	return f.pass(func() error {
		if err := f.order(name); err != nil {
			return err
		}
		return f.FS.Remove(name)
	})
}

func (f *fence) RemoveAll(name string) error {
	return f.pass(func() error { return f.FS.RemoveAll(name) })
}

func (f *fence) Unwrap() vfs.FS { return f.FS }

type fencedFile struct {
	vfs.File
	f    *fence
	name string
}

func (f *fencedFile) Write(p []byte) (n int, err error) {
	err = f.f.pass(func() error {
		n, err = f.File.Write(p)
		return err
	})
	return n, f.f.spareLog(f.name, err)
}

func (f *fencedFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.f.pass(func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, f.f.spareLog(f.name, err)
}

func (f *fencedFile) Preallocate(off, n int64) error {
	return f.f.spareLog(f.name, f.f.pass(func() error { return f.File.Preallocate(off, n) }))
}

func (f *fencedFile) Sync() error { return f.f.spareLog(f.name, f.File.Sync()) }

func (f *fencedFile) SyncData() error { return f.f.spareLog(f.name, f.File.SyncData()) }

func (f *fencedFile) SyncTo(n int64) (bool, error) {
	all, err := f.File.SyncTo(n)
	return all, f.f.spareLog(f.name, err)
}

func (f *fencedFile) Close() error { return f.f.spareLog(f.name, f.File.Close()) }

// fencedDir is a directory, which is synced when a log was made in it.
type fencedDir struct {
	vfs.File
	f *fence
}

func (d *fencedDir) Sync() error { return d.f.spare(d.File.Sync()) }

type nopCloser struct{}

func (nopCloser) Close() error { return nil }
