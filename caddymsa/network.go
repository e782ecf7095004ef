package caddymsa

import "net/netip"

// ClientNetwork is what counts as one client: an IPv4 address, or the /64 that an
// IPv6 host has for itself.
func ClientNetwork(ip netip.Addr) netip.Prefix {
	if !ip.IsValid() {
		return netip.Prefix{}
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p
}
