package running

import "net/netip"

// Described is a server that tells how clients reach it.
type Described interface {
	// Describe tells it as of now: mechanisms follow the users that there are.
	Describe() Description
}

// Description is what mail programs have to know of a server.
type Description struct {
	Hostname   string
	Listeners  []Listener // in no order; sockets that are no TCP ports are left out
	Mechanisms []string   // that are offered, in the order announced
}

// Listener is a TCP port that is listened on, by its real number.
type Listener struct {
	Address     netip.AddrPort
	ImplicitTLS bool // from the first byte; else STARTTLS
}
