// Package terminaltest has terminals for tests.
package terminaltest

import (
	"io"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Shown is what a terminal gets to show while write writes there.
func Shown(t *testing.T, write func(terminal *os.File)) string {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	screen := os.NewFile(uintptr(fd), "/dev/ptmx")
	defer screen.Close()
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	shown := make(chan string)
	go func() {
		all, _ := io.ReadAll(screen) // EIO once the other side is closed
		shown <- string(all)
	}()
	write(terminal)
	_ = terminal.Close()
	return <-shown
}
