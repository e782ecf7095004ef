package installed

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
	"testing"
)

// OwnDir makes a directory for a server that refuses to run as root, and says as whom to run it: the first of
// the users that exists, to whom the directory belongs; nil for who is not root and runs it himself.
func OwnDir(t testing.TB, users ...string) (dir string, as *syscall.Credential) {
	t.Helper()
	dir, err := os.MkdirTemp(inMemory(t), "msa-server-") // t.TempDir lets nobody else in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() != 0 {
		return dir, nil
	}
	for _, name := range users {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
		return dir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Fatal("none of these users exists:", users)
	return "", nil
}

// inMemory is where there is a file system in memory that has room for a few databases; empty: nowhere, or a benchmark asks. A server that
// is killed loses nothing there that it would keep on a disk, and syncs at no cost.
func inMemory(t testing.TB) string {
	const shm, tmpfs, room = "/dev/shm", 0x01021994, 4 << 30
	if _, measures := t.(*testing.B); measures {
		return ""
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(shm, &s); err != nil || s.Type != tmpfs || s.Bavail*uint64(s.Bsize) < room { //nolint:gosec // sizes are positive
		return ""
	}
	return shm
}
