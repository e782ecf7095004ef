package machine

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Disk checks that a directory is on a disk that keeps what is synced, and how long that takes.
func Disk(n *doctor.Notes, dir string) {
	kind := fileSystem(dir)
	disk(n, dir, kind, func() (time.Duration, error) { return syncCost(dir) })
}

const (
	// slowSync is what a disk that spins takes.
	slowSync = 20 * time.Millisecond
	// noSync is what no disk takes that writes something.
	noSync = 5 * time.Microsecond
)

func disk(n *doctor.Notes, dir, kind string, cost func() (time.Duration, error)) {
	switch kind {
	case "tmpfs", "ramfs":
		n.Wrong("put it on a disk", "%s is in memory (%s): messages that were accepted are lost with the power", dir, kind)
		return
	case "nfs", "cifs", "smb2", "fuse", "9p":
		n.Warn("put it on a local disk, or a block device of the network", "%s is on a file system of the network (%s), where locks and synced data depend on the other side", dir, kind)
	}
	took, err := cost()
	switch {
	case err != nil:
		n.Wrong("give the directory to the user that Caddy runs as, and see that the disk works and has room", "nothing can be written in %s: %v", dir, err)
	case took > slowSync:
		n.Warn("use a disk with a write cache that survives a loss of power; every message is synced before it is accepted", "a sync in %s takes %s", dir, took.Round(time.Millisecond))
	case took < noSync:
		n.Warn("see that the file system honours fsync (no eatmydata, no nobarrier, no disk cache that lies): else messages that were accepted are lost with the power", "a sync in %s takes %s, which is too good to be true", dir, took)
	default:
		n.OK("a sync in %s takes %s", dir, took.Round(10*time.Microsecond))
	}
}

// syncs is how many times it is measured.
const syncs = 9

// syncCost is the median time of writing and syncing 4 KiB.
func syncCost(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return 0, plain(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4<<10)
	var took []time.Duration
	for i := range syncs {
		block[0] = byte(i)
		if _, err := f.Write(block); err != nil {
			return 0, plain(err)
		}
		began := time.Now()
		if err := f.Sync(); err != nil {
			return 0, plain(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// plain leaves out the name of a file that is gone by now.
func plain(err error) error {
	if p, ok := err.(*fs.PathError); ok { //nolint:errorlint // as os returns it
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	return err
}
