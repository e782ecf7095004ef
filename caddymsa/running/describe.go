package running

import (
	"cmp"
	"net/netip"
	"slices"
)

// Described is a server that tells how clients reach it.
type Described interface {
	// Describe tells it as of now: mechanisms follow the users that there are.
	Describe() Description
}

// Description is what mail programs have to know of a server.
type Description struct {
	Hostname   string
	Listeners  Listeners // in no order; sockets that are no TCP ports are left out
	Mechanisms []string  // that are offered, in the order announced
}

// Listener is a TCP port that is listened on, by its real number.
type Listener struct {
	Address     netip.AddrPort
	ImplicitTLS bool // from the first byte; else STARTTLS
	IPv6Only    bool // [::] of tcp6, which has no IPv4 beside it
}

// Listeners are those of a server.
type Listeners []Listener

// Reachable are those that clients elsewhere can use, each port once: on loopback only if there are no others, and implicit TLS
// first (RFC 8314 section 3).
func (all Listeners) Reachable() (ports Listeners) {
	outside := slices.ContainsFunc(all, func(l Listener) bool { return !l.Address.Addr().IsLoopback() })
	for _, l := range all {
		same := func(have Listener) bool {
			return have.Address.Port() == l.Address.Port() && have.ImplicitTLS == l.ImplicitTLS
		}
		if outside && l.Address.Addr().IsLoopback() || slices.ContainsFunc(ports, same) {
			continue
		}
		ports = append(ports, l)
	}
	slices.SortStableFunc(ports, func(a, b Listener) int {
		switch {
		case a.ImplicitTLS == b.ImplicitTLS:
			return cmp.Compare(a.Address.Port(), b.Address.Port())
		case a.ImplicitTLS:
			return -1
		}
		return 1
	})
	return ports
}
