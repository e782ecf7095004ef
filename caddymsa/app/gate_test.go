package app

import (
	"net"
	"net/netip"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

func TestGate(t *testing.T) {
	d, _ := newGate()
	g := d.(*gate)
	limits := &Limits{Connections: 3, ConnectionsPerIP: 2, Unauthenticated: 2}
	a, b := caddymsa.ClientNetwork(netip.MustParseAddr("192.0.2.1")), caddymsa.ClientNetwork(netip.MustParseAddr("192.0.2.2"))

	first, refused := g.enter(a, limits)
	if refused != "" {
		t.Fatal(refused)
	}
	second, _ := g.enter(a, limits)
	if _, refused = g.enter(b, limits); refused != "unauthenticated" {
		t.Errorf("a third stranger: %q", refused)
	}
	first.authenticated()
	first.authenticated() // counts once
	if _, refused = g.enter(a, limits); refused != "connections_per_ip" {
		t.Errorf("a third from one address: %q", refused)
	}
	third, refused := g.enter(b, limits)
	if refused != "" {
		t.Error(refused)
	}
	second.authenticated()
	if _, refused = g.enter(b, limits); refused != "connections" {
		t.Errorf("a fourth: %q", refused)
	}
	for _, v := range []*visitor{first, second, third} {
		v.leave()
	}
	if g.connections != 0 || g.unauthenticated != 0 || len(g.byNetwork) != 0 {
		t.Errorf("not empty after all have left: %+v", g)
	}
}

func TestClientNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"[2001:db8::1]:25": "2001:db8::/64", "192.0.2.1:25": "192.0.2.1/32", "[::ffff:192.0.2.1]:25": "192.0.2.1/32", "[fe80::1%eth0]:25": "fe80::/64",
	} {
		addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(in))
		if got := caddymsa.ClientNetwork(clientIP(addr)); got.String() != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if caddymsa.ClientNetwork(clientIP(&net.UnixAddr{Name: "@", Net: "unix"})).IsValid() {
		t.Error("a unix socket's peer has a network")
	}
}
