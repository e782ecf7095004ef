package spoolpostgres

import (
	"net"
	"time"
)

// dialer makes connections that notice within the timeout that the server's machine is gone: while they wait for an
// answer, such as that to LISTEN, and when what they have sent is not acknowledged.
func dialer(timeout time.Duration) *net.Dialer {
	every := max(time.Second, timeout/4)
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: every, Interval: every, Count: 3},
		Control:         userTimeout(timeout),
	}
}
