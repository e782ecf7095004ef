package app

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// A process that ends shuts all its sockets at once, however long the transactions on the
// first of them take.
func TestDrainShutsAll(t *testing.T) {
	var bindings []*binding
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ep := newEndpoint(ln)
		b := &binding{ep: ep}
		ep.bindings.push(b)
		bindings = append(bindings, b)
	}
	busy, idle := bindings[0].ep, bindings[1].ep
	client, nc := net.Pipe()
	defer client.Close()
	c := smtpd.New(nc, busy, false, smtpd.Options{})
	busy.join(c)

	drained := make(chan struct{})
	go func() {
		drain(context.Background(), bindings)
		close(drained)
	}()
	<-idle.empty                                                    // shut though busy is not empty
	if _, err := idle.ln.Accept(); !errors.Is(err, net.ErrClosed) { // its port may be somebody else's by now
		t.Error("the idle endpoint takes clients:", err)
	}
	select {
	case <-drained:
		t.Error("drained with a client on the busy endpoint")
	default:
	}
	busy.part(c)
	<-drained
}

func TestClientNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"[2001:db8::1]:25": "2001:db8::/64", "192.0.2.1:25": "192.0.2.1/32", "[::ffff:192.0.2.1]:25": "192.0.2.1/32", "[fe80::1%eth0]:25": "fe80::/64",
	} {
		addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(in))
		if got := caddymsa.ClientNetwork(clientIP(addr)); got.String() != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if caddymsa.ClientNetwork(clientIP(&net.UnixAddr{Name: "@", Net: "unix"})).IsValid() {
		t.Error("a unix socket's peer has a network")
	}
}
