//go:build !linux

package least

import "os"

func datasync(f *os.File) error { return f.Sync() }
