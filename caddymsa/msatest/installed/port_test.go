package installed

import (
	"fmt"
	"net"
	"runtime"
	"testing"
)

// A port that another process's tests were given is passed over, though nobody listens there yet.
func TestFreePortOfAnother(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems have no such names")
	}
	next := firstPort + int((nextPort.Load()+1)%ports)
	other, err := net.Listen("unix", fmt.Sprintf("@caddy-msa-test-port-%d", next))
	if err != nil {
		t.Skip("somebody has it indeed:", err)
	}
	defer other.Close()
	if port := FreePort(t); port == next {
		t.Errorf("%d is given to both", port)
	}
	one, two := FreePort(t), FreePort(t)
	if one == two {
		t.Errorf("%d twice", one)
	}
}
