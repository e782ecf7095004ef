package installed

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
)

// FreePort is a port that nobody listens on at this moment, nor is given to somebody else until the test ends, by the system or by another
// process's FreePort: a server that takes its time to start, or is stopped and started again, finds it as it left it.
func FreePort(t testing.TB) int {
	t.Helper()
	for range ports {
		port := firstPort + int(nextPort.Add(1)%ports)
		if !reserve(t, port) {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// Below those that the system hands out, and below those that the integration tests take.
const firstPort, ports = 10000, 10000

var nextPort = func() *atomic.Uint32 {
	n := new(atomic.Uint32)
	n.Store(uint32(os.Getpid()) * 61) // other processes begin elsewhere
	return n
}()

// reserve takes a name for the port that nobody else can have: it is in no directory, and goes with the test or the process.
func reserve(t testing.TB, port int) bool {
	if runtime.GOOS != "linux" {
		return true
	}
	l, err := net.Listen("unix", fmt.Sprintf("@caddy-msa-test-port-%d", port))
	if err != nil {
		return !errors.Is(err, syscall.EADDRINUSE)
	}
	t.Cleanup(func() { _ = l.Close() })
	return true
}
