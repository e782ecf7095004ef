package app

import (
	"net"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// Describe implements running.Described.
func (srv *Server) Describe() running.Description {
	return running.Description{Hostname: srv.Hostname, Listeners: slices.Clone(srv.listeners), Mechanisms: slices.Clone(srv.Auth.offered())}
}

// noteListeners keeps what the server's sockets are really bound to. It is called once all are open.
func (srv *Server) noteListeners() {
	for _, b := range srv.app.bindings {
		if a, ok := b.ep.ln.Addr().(*net.TCPAddr); ok && b.srv == srv {
			srv.listeners = append(srv.listeners, running.Listener{Address: a.AddrPort(), ImplicitTLS: b.implicit, IPv6Only: b.ipv6Only})
		}
	}
}

// Interface guard
var _ running.Described = (*Server)(nil)
