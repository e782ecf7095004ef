//go:build !unix || solaris || aix || illumos

package spoolfile

import (
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func lockFile(name string) (io.Closer, error) {
	l, err := vfs.Default.Lock(name)
	if err != nil {
		return nil, &inUseError{cause: err}
	}
	return l, nil
}
