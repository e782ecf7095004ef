package spoolpostgres

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout sets for how long what was sent may stay without an acknowledgement (RFC 5482).
func userTimeout(timeout time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) (err error) {
		if network == "unix" {
			return nil
		}
		if e := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
		}); e != nil {
			return e
		}
		return err
	}
}
