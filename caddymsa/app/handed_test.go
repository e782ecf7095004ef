package app

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// hand gives a server a connection that something else has accepted, as layer 4 does.
func (in *instance) hand(server running.Connections, how running.Handed, config *tls.Config) *dialogue {
	in.t.Helper()
	near, far := net.Pipe()
	how.Conn = far
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.ServeConn(how)
	}()
	in.t.Cleanup(func() {
		_ = near.Close()
		<-served
	})
	if config != nil {
		near = tls.Client(near, config)
	}
	return &dialogue{in: in, nc: near, r: bufio.NewReader(near)}
}

// What is handed over has the server's gate, limits and configuration, across reloads, until the
// server is gone.
func TestHandedOver(t *testing.T) {
	in := newInstance(t)
	in.load()
	server, ok := running.Server[running.Connections]("main")
	if !ok {
		t.Fatal("no server takes connections")
	}
	starttls := in.hand(server, running.Handed{}, nil)
	starttls.want("220 msa.example.org ESMTP")
	starttls.do("EHLO client.example", "250")
	starttls.do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "530 5.7.0")
	starttls.starttls()
	implicit := in.hand(server, running.Handed{Implicit: true}, in.tls)
	implicit.want("220 msa.example.org ESMTP")
	sessions := []*dialogue{starttls, implicit}
	for _, c := range sessions {
		c.do("EHLO client.example", "250")
		c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "235 2.7.0")
		c.envelope("bob@example.net")
		c.do("DATA", "354")
		c.send(letter)
	}

	in.load(with("received", "no_client"))
	for _, c := range sessions {
		c.send(".\r\n")
		c.want("250 2.0.0 Ok: queued as ")
	}
	in.arrived(2)
	in.load(func(_, app map[string]any) {
		servers := app["servers"].(map[string]any)
		app["servers"] = map[string]any{"other": servers["main"]}
	})
	for _, c := range sessions {
		c.want("421 4.3.2")
		c.closed()
	}
	if _, ok := running.Server[running.Connections]("main"); ok {
		t.Error("the server is there still")
	}
	late := in.hand(server, running.Handed{}, nil) // who asked before the reload
	_ = late.nc.SetDeadline(time.Now().Add(patience))
	if line, err := late.r.ReadString('\n'); !errors.Is(err, io.EOF) {
		t.Errorf("%q, %v", line, err)
	}
}
