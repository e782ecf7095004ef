//go:build unix

package usersfile

import (
	"fmt"
	"os"
	"syscall"
)

// keepOwner gives f the owner and group of the file that it replaces.
func keepOwner(f *os.File, old os.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	is, ok := now.Sys().(*syscall.Stat_t)
	want, ok2 := old.Sys().(*syscall.Stat_t)
	if !ok || !ok2 || is.Uid == want.Uid && is.Gid == want.Gid {
		return nil
	}
	if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
		// The server might not be able to read it any more.
		return fmt.Errorf("the file belongs to user %d, group %d, and would not any more: run this as that user or as root", want.Uid, want.Gid)
	}
	return nil
}

// lock keeps a second command off the directory's files until unlock is called, on file systems
// that have such locks.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	_ = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
	return func() {
		_ = syscall.Flock(int(d.Fd()), syscall.LOCK_UN) // a program that is being run has a copy of d until its exec
		_ = d.Close()
	}, nil
}
