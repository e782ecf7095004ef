package app

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// gates counts the clients of each server by name, across its endpoints and reloads.
var gates = caddy.NewUsagePool()

// gate counts a server's clients, and remembers which of them guess passwords and who fills the log.
type gate struct {
	*guard
	samples *sampler
	now     func() time.Time

	mu          sync.Mutex
	connections int
	networks    map[netip.Prefix]*network // that have connections
	strangers   crowd
}

func newGate() (caddy.Destructor, error) {
	return &gate{guard: newGuard(), samples: newSampler(), now: time.Now, networks: make(map[netip.Prefix]*network)}, nil
}

// Destruct has nothing to do: clients that are still there hold the gate themselves.
func (*gate) Destruct() error { return nil }

// network is what counts as one client, or the zero prefix for those that have none: peers of unix
// sockets, and what a balancer hands on before it has said whose it is.
type network struct {
	prefix      netip.Prefix
	connections int
	waiting
}

// gateLimits are what enter heeds.
type gateLimits struct {
	*Limits
	beforeAuth time.Duration
}

// visitor is one client's place in the counts. Its methods are called by the goroutine
// that owns the connection.
type visitor struct {
	gate    *gate
	network *network
	since   time.Time
	// What follows is guarded by the gate.
	stranger bool
	counted  bool // it has not left, nor been told to
	makeRoom func()

	inAll, inNetwork *list.Element // of the crowd
}

// enter counts a client in, or says what there is too much of. makeRoom is called, at most once and
// from any goroutine, if the client is to leave for others while it is a stranger.
//
// Strangers cost an attacker nothing, so no number of them may keep others out: at the limit the
// oldest of the network that has most is closed, and the newcomer comes in.
func (g *gate) enter(prefix netip.Prefix, l gateLimits, makeRoom func()) (v *visitor, refused string) {
	v = &visitor{gate: g, since: g.now(), makeRoom: makeRoom}
	g.mu.Lock()
	if g.connections >= l.Connections {
		g.mu.Unlock()
		return nil, "connections"
	}
	refused = g.admit(v, prefix, l)
	leaving := g.crowded(l)
	g.mu.Unlock()
	for _, old := range leaving {
		old.makeRoom()
	}
	if refused != "" {
		return nil, refused
	}
	return v, ""
}

// admit adds v to the counts of a network.
func (g *gate) admit(v *visitor, prefix netip.Prefix, l gateLimits) (refused string) {
	n := g.networks[prefix]
	if n == nil {
		n = &network{prefix: prefix}
	}
	switch {
	case !prefix.IsValid():
	case n.connections >= l.ConnectionsPerIP:
		return "connections_per_ip"
	case n.len() >= l.UnauthenticatedPerIP && g.strangers.len() > l.Unauthenticated/2:
		return "unauthenticated_per_ip"
	}
	g.networks[prefix] = n
	v.network, v.stranger = n, true
	g.count(v)
	return ""
}

// crowded takes out of the counts who is to make room: who stands around for longer than before_auth,
// which shrinks to a quarter while the second half of the places fills, and who is over the limit.
func (g *gate) crowded(l gateLimits) (leaving []*visitor) {
	half := l.Unauthenticated / 2
	for over := g.strangers.len() - half; over > 0; over = g.strangers.len() - half {
		v := g.strangers.oldest()
		patience := l.beforeAuth - l.beforeAuth*3/4*time.Duration(over)/time.Duration(max(l.Unauthenticated-half, 1))
		switch {
		case g.now().Sub(v.since) >= patience:
		case g.strangers.len() > l.Unauthenticated:
			v = g.strangers.oldestOfMost()
		default:
			return leaving
		}
		g.uncount(v)
		leaving = append(leaving, v)
	}
	return leaving
}

func (g *gate) count(v *visitor) {
	v.counted = true
	g.connections++
	v.network.connections++
	if v.stranger {
		g.strangers.add(v)
	}
}

func (g *gate) uncount(v *visitor) {
	v.counted = false
	g.connections--
	if v.stranger {
		g.strangers.remove(v)
	}
	if v.network.connections--; v.network.connections == 0 {
		delete(g.networks, v.network.prefix)
	}
}

// move counts the client to another network, once it is known whose it is.
func (v *visitor) move(prefix netip.Prefix, l gateLimits) (refused string) {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	if !v.counted {
		return "unauthenticated"
	}
	v.gate.uncount(v)
	return v.gate.admit(v, prefix, l)
}

// authenticated says that the client is no longer a stranger. If it was told to make room at this very
// moment, it stays all the same.
func (v *visitor) authenticated() {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	if v.counted {
		v.gate.uncount(v)
	}
	if v.gate.networks[v.network.prefix] == nil {
		v.gate.networks[v.network.prefix] = v.network
	}
	v.network = v.gate.networks[v.network.prefix]
	v.stranger = false
	v.gate.count(v)
}

func (v *visitor) leave() {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	if v.counted {
		v.gate.uncount(v)
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
