package dnscheck

import (
	"net/netip"
	"testing"
)

// An address that providers and overlay networks (Tailscale, for one) share is nobody's outside: no record is to name it.
func TestSeenOutside(t *testing.T) {
	for text, want := range map[string]bool{
		"192.0.2.7": true, "100.63.255.255": true, "100.128.0.1": true, "2001:db8::7": true,
		"100.64.0.1": false, "100.127.255.255": false, "::ffff:100.64.0.1": false, "10.0.0.7": false, "127.0.0.1": false, "169.254.1.1": false, "fe80::1": false, "fd7a::1": false, "0.0.0.0": false,
	} {
		if got := SeenOutside(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
