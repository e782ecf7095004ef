package dnscheck

import "net/netip"

// shared is what providers and overlay networks use among themselves (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// SeenOutside tells whether others can see an address of this machine's as it is, so that a record may name it.
func SeenOutside(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !shared.Contains(ip)
}
