package machine

import "golang.org/x/sys/unix"

// fileSystems are those that matter, by the number that statfs says.
var fileSystems = map[int64]string{
	unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.NFS_SUPER_MAGIC: "nfs", 0xff534d42: "cifs", 0xfe534d42: "smb2", unix.FUSE_SUPER_MAGIC: "fuse", unix.V9FS_MAGIC: "9p",
}

// fileSystem is the kind that a directory is on; empty: another.
func fileSystem(dir string) string {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return ""
	}
	return fileSystems[int64(s.Type)&0xffffffff] //nolint:unconvert // 32 bits on some machines
}
