package app

import (
	"net"
	"net/netip"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// gates counts the clients of each server by name, across its endpoints and reloads.
var gates = caddy.NewUsagePool()

// gate counts a server's clients, and remembers which of them guess passwords.
type gate struct {
	*guard

	mu              sync.Mutex
	connections     int
	unauthenticated int
	byNetwork       map[netip.Prefix]int
}

func newGate() (caddy.Destructor, error) {
	return &gate{guard: newGuard(), byNetwork: make(map[netip.Prefix]int)}, nil
}

// Destruct has nothing to do: clients that are still there hold the gate themselves.
func (*gate) Destruct() error { return nil }

// enter counts a client in, or says what there is too much of.
func (g *gate) enter(network netip.Prefix, l *Limits) (v *visitor, refused string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.connections >= l.Connections:
		return nil, "connections"
	case g.unauthenticated >= l.Unauthenticated:
		return nil, "unauthenticated"
	case network.IsValid() && g.byNetwork[network] >= l.ConnectionsPerIP:
		return nil, "connections_per_ip"
	}
	g.connections++
	g.unauthenticated++
	if network.IsValid() {
		g.byNetwork[network]++
	}
	return &visitor{gate: g, network: network, unauthenticated: true}, ""
}

// visitor is one client's place in the counts. Its methods are called by the
// goroutine that owns the connection.
type visitor struct {
	gate            *gate
	network         netip.Prefix
	unauthenticated bool
}

// authenticated says that the client is no stranger any more.
func (v *visitor) authenticated() {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	if v.unauthenticated {
		v.unauthenticated = false
		v.gate.unauthenticated--
	}
}

func (v *visitor) leave() {
	v.authenticated()
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	v.gate.connections--
	if !v.network.IsValid() {
		return
	}
	if v.gate.byNetwork[v.network]--; v.gate.byNetwork[v.network] == 0 {
		delete(v.gate.byNetwork, v.network)
	}
}

// clientIP is invalid for what is no IP address, such as a unix socket's peer.
func clientIP(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
