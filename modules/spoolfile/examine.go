package spoolfile

import (
	"context"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/machine"
)

// Examine implements caddymsa.Examiner: the disk, how much of it is free, who may read the directory, and what else lies in it.
func (f *FileSpool) Examine(_ context.Context, _ caddymsa.Examination) []doctor.Finding {
	n := doctor.About("spool", f.dir)
	info, err := os.Stat(f.dir)
	if err != nil {
		n.Wrong("put the directory back from its backup, or restart Caddy for a new one: what was in it is lost", "the directory is gone: %v", err)
		return n.Findings
	}
	if info.Mode().Perm()&0o077 != 0 {
		n.Warn("chmod 700 "+f.dir, "others on this machine can look into it (mode %04o)", info.Mode().Perm())
	}
	machine.Disk(n, f.dir)
	f.room(n)
	f.strangers(n)
	return n.Findings
}

// room compares what is free with the reserve.
func (f *FileSpool) room(n *doctor.Notes) {
	o := f.options(nil)
	o.setDefaults()
	usage, err := vfs.Default.GetDiskUsage(f.dir)
	if err != nil {
		n.Skip("see that the disk works", "how much is free is not known: %v", err)
		return
	}
	reserve := uint64(max(o.Reserve, 0))
	const free = "free space, or move the spool to a larger disk (caddy msa spool move)"
	switch {
	case usage.AvailBytes < reserve:
		n.Wrong(free, "messages are refused (452 4.3.1): %d MiB are free, and the reserve is %d MiB", usage.AvailBytes>>20, reserve>>20)
	case usage.AvailBytes < 4*reserve:
		n.Warn(free, "%d MiB are free, and below %d MiB messages are refused", usage.AvailBytes>>20, reserve>>20)
	case usage.TotalBytes > 0 && usage.AvailBytes < usage.TotalBytes/20:
		n.Warn(free, "%d MiB are free, less than 5 %% of the disk", usage.AvailBytes>>20)
	default:
		n.OK("%d MiB are free; below %d MiB messages are refused", usage.AvailBytes>>20, reserve>>20)
	}
}

// strangers are names in the directory that are not this spool's.
func (f *FileSpool) strangers(n *doctor.Notes) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		n.Wrong("give it to the user that Caddy runs as", "the directory cannot be read: %v", err)
		return
	}
	const most = 5
	var names []string
	for _, e := range entries {
		if !isOurs(e.Name()) && len(names) < most {
			names = append(names, e.Name())
		}
	}
	if len(names) > 0 {
		n.Warn("move them away: the directory is for the spool alone", "there are files in it that are not the spool's: %.200q", names)
	}
}

// isOurs tells the names that a store gives.
func isOurs(name string) bool {
	switch name {
	case "lock", "ballast", "bodies", "store", asideDir, newStore, stateFile, "lost+found":
		return true
	}
	return strings.HasPrefix(name, stateFile+".") // while it is written
}

// Interface guard
var _ caddymsa.Examiner = (*FileSpool)(nil)
