package installed

import (
	"fmt"
	"net"
	"testing"
)

// A port that another process's tests were given is passed over, though nobody listens there yet.
func TestFreePortOfAnother(t *testing.T) {
	next := firstPort + int((nextPort.Load()+1)%ports)
	if other, err := net.Listen("unix", fmt.Sprintf("@caddy-msa-test-port-%d", next)); err == nil { // else another process has it indeed
		defer other.Close()
	}
	if port := FreePort(t); port == next {
		t.Errorf("%d is given to both", port)
	}
	one, two := FreePort(t), FreePort(t)
	if one == two {
		t.Errorf("%d twice", one)
	}
}
