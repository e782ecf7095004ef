//go:build !linux

package spoolpostgres

import (
	"syscall"
	"time"
)

// userTimeout is Linux's: elsewhere keepalives have to do.
func userTimeout(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
