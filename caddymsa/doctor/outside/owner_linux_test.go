package outside

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The process that listens on a port of this machine has a name; that of another machine's has none.
func TestListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := listener(l.Addr().String()); !strings.Contains(got, "process "+strconv.Itoa(os.Getpid())+", ") {
		t.Errorf("%q", got)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if got := listener("localhost:" + port); !strings.Contains(got, "process ") {
		t.Errorf("%q", got)
	}
	for _, address := range []string{"192.0.2.1:" + port, "nowhere", "127.0.0.1:x", silentPort(t)} {
		if got := listener(address); got != "" {
			t.Errorf("%s: %q", address, got)
		}
	}
}

// Where no server of ours can be asked, it is said whose the ports are.
func TestWhose(t *testing.T) {
	f := newFake(newAuthority(t).issue(nil))
	found := (&Target{StartTLS: []string{f.serve(t)}, Implicit: []string{silentPort(t)}}).Whose(t.Context())
	if len(found) != 2 || !strings.Contains(found[0].Text, "of which nothing else is known (the port is process "+strconv.Itoa(os.Getpid())) || !strings.Contains(found[1].Text, "nobody listens") {
		t.Errorf("%+v", found)
	}
}
