//go:build unix && !solaris && !aix && !illumos

package spoolfile

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A program that is being run at the same time, which has copies of all files from its fork to its exec, does not keep the
// spool from being opened again (a red gate: a reload's would fail as well).
func TestLockEndsWithClose(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	l, err := lockFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fork, err := unix.Dup(int(l.(interface{ Fd() uintptr }).Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fork)
	if again, err := lockFile(name); err == nil {
		again.Close()
		t.Fatal("locked twice")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockFile(name)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
