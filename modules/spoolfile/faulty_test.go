package spoolfile

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// faulty is a file system that fails when it is told to.
type faulty struct {
	vfs.FS
	fault atomic.Pointer[func(op, name string) error]
	avail atomic.Uint64 // free octets, as GetDiskUsage has it
}

func newFaulty(fs vfs.FS) *faulty {
	f := &faulty{FS: fs}
	f.avail.Store(1 << 40)
	return f
}

// set makes the calls fail for which fault returns an error; nil: none.
func (f *faulty) set(fault func(op, name string) error) {
	if fault == nil {
		f.fault.Store(nil)
		return
	}
	f.fault.Store(&fault)
}

func (f *faulty) check(op, name string) error {
	if fault := f.fault.Load(); fault != nil {
		return (*fault)(op, name)
	}
	return nil
}

func (f *faulty) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.check("create", name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, name}, nil
}

func (f *faulty) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.check("create", to); err != nil {
		return nil, err
	}
	file, err := f.FS.ReuseForWrite(from, to, c)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, to}, nil
}

func (f *faulty) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.avail.Load()}, nil
}

type faultyFile struct {
	vfs.File
	f    *faulty
	name string
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.f.check("write", f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultyFile) Sync() error {
	if err := f.f.check("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) SyncData() error {
	if err := f.f.check("sync", f.name); err != nil {
		return err
	}
	return f.File.SyncData()
}
