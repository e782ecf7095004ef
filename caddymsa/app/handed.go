package app

import (
	"net"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// bindHanded is where a server's connections come that something else has accepted, such as layer 4. Like a
// socket's, its sessions outlive configurations; the next one has it by the server's name.
func bindHanded(srv *Server) *binding {
	key := "handed over to " + srv.name // no address has spaces
	v, _, _ := endpoints.LoadOrNew(key, func() (caddy.Destructor, error) { return newEndpoint(nowhere{make(chan struct{})}), nil })
	return &binding{srv: srv, ep: v.(*endpoint), key: key}
}

// nowhere is the socket of an endpoint that has none: it accepts nobody.
type nowhere struct{ closed chan struct{} }

// Accept implements net.Listener.
func (n nowhere) Accept() (net.Conn, error) {
	<-n.closed
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (n nowhere) Close() error {
	close(n.closed)
	return nil
}

// Addr implements net.Listener.
func (nowhere) Addr() net.Addr { return new(net.UnixAddr) }

// ServeConn implements running.Connections. The listener wrappers are for the server's own sockets: who hands
// a connection over has seen to whose it is.
func (srv *Server) ServeConn(c running.Handed) {
	ep := srv.handed.ep
	b := ep.bindings.top()
	if b == nil { // the configuration has gone meanwhile
		_ = c.Close()
		return
	}
	ep.serve(&arrival{nc: c.Conn, implicit: c.Implicit, tls: c.TLS}, b)
}

// Interface guard
var _ running.Connections = (*Server)(nil)
