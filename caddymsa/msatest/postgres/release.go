//go:build linux

package postgres

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Release gives back what a server that was killed leaves in the kernel, which has room for 4096 of them: the segment of shared memory that
// guards its directory. A server that starts again in the directory does so itself.
func Release(data string) {
	path := data + "/postmaster.pid"
	text, err := os.ReadFile(path)
	if err != nil { // it ended in good order
		return
	}
	lines := strings.Split(string(text), "\n")
	const memory = 6 // the line of the segment's key and number
	if len(lines) <= memory {
		return
	}
	if f := strings.Fields(lines[memory]); len(f) == 2 {
		if id, err := strconv.Atoi(f[1]); err == nil {
			_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		}
	}
	_ = os.Remove(path)
}
