package installed

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// FreePort is a port that nobody listens on at this moment, nor is given meanwhile to somebody else, by the system or by another process's
// FreePort: a server that takes its time to start, or is stopped and started again, finds it as it left it.
func FreePort(t testing.TB) int {
	t.Helper()
	for {
		port := firstPort + int(nextPort.Add(1)%ports)
		if !reserve(port) {
			continue
		}
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

// reserved are this process's, until it ends.
var reserved struct {
	sync.Mutex
	names []net.Listener
}

// reserve takes a name for the port that nobody else can have: it is in no directory, and goes with the process.
func reserve(port int) bool {
	if runtime.GOOS != "linux" {
		return true
	}
	l, err := net.Listen("unix", fmt.Sprintf("@caddy-msa-test-port-%d", port))
	if err != nil {
		return !errors.Is(err, syscall.EADDRINUSE)
	}
	reserved.Lock()
	defer reserved.Unlock()
	reserved.names = append(reserved.names, l)
	return true
}
