package installed

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

// FreePort is a port that nobody listens on at this moment, nor is given by the system to somebody else meanwhile: a server
// that is stopped and started again finds it as it left it.
func FreePort(t testing.TB) int {
	t.Helper()
	for {
		port := firstPort + int(nextPort.Add(1)%ports)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
}

// Below those that the system hands out, and below those that the integration tests take.
const firstPort, ports = 10000, 10000

var nextPort = func() *atomic.Uint32 {
	n := new(atomic.Uint32)
	n.Store(uint32(os.Getpid()) * 61) // other processes begin elsewhere
	return n
}()
