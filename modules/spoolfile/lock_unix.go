//go:build unix && !solaris && !aix && !illumos

package spoolfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile takes the exclusive lock on a file. It is flock's and not fcntl's,
// which a process would be given twice.
func lockFile(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o600); err != nil {
		f.Close()
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		return nil, &inUseError{pid: strings.TrimSpace(string(pid))}
	}
	// Who holds it is a help for the reader of the error and nothing more.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return heldLock{f}, nil
}

// heldLock is a locked file. Closing it gives the lock up by name: a program that another goroutine is about to run has a
// copy of the file from its fork to its exec, which would hold the lock that long.
type heldLock struct{ *os.File }

func (l heldLock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}
