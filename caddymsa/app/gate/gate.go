// Package gate stands between strangers and a server: it counts connections and makes room among
// those that have not authenticated (gate.go, crowd.go), slows the guessing of passwords down and
// blocks it (throttle.go), and bounds what repeated causes write into the log (sampler.go). One Gate
// is a server's, across its endpoints and reloads.
package gate

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Gate counts a server's clients, and remembers which of them guess passwords and who fills the log.
type Gate struct {
	*guard
	// Samples bounds the lines of the log.
	Samples *sampler
	now     func() time.Time

	mu          sync.Mutex
	connections int
	networks    map[netip.Prefix]*network // that have connections
	strangers   crowd
}

// New returns a gate that nobody has come to.
func New() *Gate {
	return &Gate{guard: newGuard(), Samples: newSampler(), now: time.Now, networks: make(map[netip.Prefix]*network)}
}

// Destruct has nothing to do: clients that are still there hold the gate themselves.
func (*Gate) Destruct() error { return nil }

// network is what counts as one client, or the zero prefix for those that have none: peers of unix
// sockets, and what a balancer hands on before it has said whose it is.
type network struct {
	prefix      netip.Prefix
	connections int
	waiting
}

// Limits are what Enter heeds: of connections, and how long a stranger may stay.
type Limits struct {
	Connections, ConnectionsPerIP, Unauthenticated, UnauthenticatedPerIP int

	BeforeAuth time.Duration
}

// visitor is one client's place in the counts. Its methods are called by the goroutine
// that owns the connection.
type visitor struct {
	gate    *Gate
	network *network
	since   time.Time
	// What follows is guarded by the gate.
	stranger bool
	counted  bool // it has not left, nor been told to
	makeRoom func()

	inAll, inNetwork *list.Element // of the crowd
}

// Enter counts a client in, or says what there is too much of. makeRoom is called, at most once and
// from any goroutine, if the client is to leave for others while it is a stranger.
//
// Strangers cost an attacker nothing, so no number of them may keep others out: at the limit the
// oldest of the network that has most is closed, and the newcomer comes in.
func (g *Gate) Enter(prefix netip.Prefix, l Limits, makeRoom func()) (v *visitor, refused string) {
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
func (g *Gate) admit(v *visitor, prefix netip.Prefix, l Limits) (refused string) {
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
func (g *Gate) crowded(l Limits) (leaving []*visitor) {
	half := l.Unauthenticated / 2
	for over := g.strangers.len() - half; over > 0; over = g.strangers.len() - half {
		v := g.strangers.oldest()
		patience := l.BeforeAuth - l.BeforeAuth*3/4*time.Duration(over)/time.Duration(max(l.Unauthenticated-half, 1))
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

// Connections is how many clients are there.
func (g *Gate) Connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.connections
}

func (g *Gate) count(v *visitor) {
	v.counted = true
	g.connections++
	v.network.connections++
	if v.stranger {
		g.strangers.add(v)
	}
}

func (g *Gate) uncount(v *visitor) {
	v.counted = false
	g.connections--
	if v.stranger {
		g.strangers.remove(v)
	}
	if v.network.connections--; v.network.connections == 0 {
		delete(g.networks, v.network.prefix)
	}
}

// Move counts the client to another network, once it is known whose it is.
func (v *visitor) Move(prefix netip.Prefix, l Limits) (refused string) {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	if !v.counted {
		return "unauthenticated"
	}
	v.gate.uncount(v)
	return v.gate.admit(v, prefix, l)
}

// Authenticated says that the client is no longer a stranger. If it was told to make room at this very
// moment, it stays all the same.
func (v *visitor) Authenticated() {
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

// Leave counts the client out.
func (v *visitor) Leave() {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	if v.counted {
		v.gate.uncount(v)
	}
}
