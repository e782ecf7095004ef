//go:build unix

package cmduser

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// A file that root edits stays the server's.
func TestOwnerStays(t *testing.T) {
	installed.NeedRoot(t) // who alone can give files away
	path := filepath.Join(t.TempDir(), "users.passwd")
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, 23456); err != nil {
		t.Skip(err)
	}
	if out, err := run(t, "secret\n", "alice@example.org", "--file", path, "--scheme", "PLAIN"); err != nil {
		t.Fatal(out, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 23456 || info.Mode().Perm() != 0o640 {
		t.Error(s.Uid, s.Gid, info.Mode())
	}
}
