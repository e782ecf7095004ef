//go:build unix

package cmduser

import (
	"os"
	"syscall"
)

// keepOwner gives f the owner of the file that it replaces. Only root can, and only
// for root is there anything to do.
func keepOwner(f *os.File, old os.FileInfo) {
	if owner, ok := old.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(owner.Uid), int(owner.Gid))
	}
}
