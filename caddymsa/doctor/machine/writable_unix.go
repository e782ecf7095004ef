//go:build unix

package machine

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Writable checks that files and directories can be made in a directory, which need not be there yet: then in the nearest above it.
func Writable(n *doctor.Notes, dir string) {
	const remedy = "have the directory there, and give it to the user that Caddy runs as"
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case (errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR)) && filepath.Dir(at) != at:
			continue
		case err != nil:
			n.Wrong(remedy, "messages wait: %v", err)
		case !info.IsDir():
			n.Wrong("correct the path", "messages wait: %s is not a directory", at)
		case unix.Access(at, unix.W_OK|unix.X_OK) != nil:
			n.Wrong(remedy, "messages wait: nothing can be written in %s", at)
		default:
			n.OK("%s can be written to", dir)
		}
		return
	}
}
