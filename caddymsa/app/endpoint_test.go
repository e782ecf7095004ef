package app

import (
	"context"
	"net"
	"testing"

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
		ep := &endpoint{ln: ln, conns: make(map[*smtpd.Conn]struct{}), empty: make(chan struct{})}
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
	<-idle.empty // shut though busy is not empty
	if _, err := net.Dial("tcp", idle.ln.Addr().String()); err == nil {
		t.Error("the idle endpoint takes clients")
	}
	select {
	case <-drained:
		t.Error("drained with a client on the busy endpoint")
	default:
	}
	busy.part(c)
	<-drained
}
