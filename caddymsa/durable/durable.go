// Package durable makes the names of files last: a file that was created or renamed is there after
// a power failure only if its directory was synced too.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// ErrTakenOver is the error of a file under whose name another writer has put its own.
var ErrTakenOver = errors.New("another node writes this file now")

// Owns returns ErrTakenOver unless name is still the file, which was open when info was asked for. Where a name is the same in every
// attempt, so that a crash leaves one file, a node that went on after its lease had ended would rename, or remove, what the next one
// has written by then.
func Owns(info fs.FileInfo, lstat func(name string) (fs.FileInfo, error), name string) error {
	now, err := lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, now) {
		return ErrTakenOver
	}
	return err
}

// Dir is an open directory.
type Dir interface {
	io.Closer
	Sync() error
}

// SyncDir syncs a directory. open is os.Open, or what opens it in a file system of its own. It does
// nothing where directories cannot be synced, which is where the system does that itself.
func SyncDir[D Dir](open func(dir string) (D, error), dir string) error {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		return nil
	}
	d, err := open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	closeErr := d.Close()
	if err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// MkdirAll makes a directory with those above it, each synced into the one above.
func MkdirAll(dir string, mode fs.FileMode) error {
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := MkdirAll(filepath.Dir(dir), mode); err != nil {
			return err
		}
		err = os.Mkdir(dir, mode)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // it was there, or someone else was quicker
	}
	if err != nil {
		return err
	}
	return SyncDir(os.Open, filepath.Dir(dir))
}
