package gate

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// gateTest is a gate with a clock that the test turns.
type gateTest struct {
	*Gate
	limits Limits
	at     time.Time
	closed []string // visitors that were told to make room
}

// newGateTest has the server's defaults for limits that are left out.
func newGateTest(l Limits) *gateTest {
	for limit, otherwise := range map[*int]int{&l.Connections: 20000, &l.ConnectionsPerIP: 1000, &l.Unauthenticated: 2000, &l.UnauthenticatedPerIP: 20} {
		if *limit == 0 {
			*limit = otherwise
		}
	}
	l.BeforeAuth = time.Minute
	g := &gateTest{Gate: New(), at: time.Unix(1e9, 0), limits: l}
	g.now = func() time.Time { return g.at }
	return g
}

func (g *gateTest) come(name, ip string) (*visitor, string) {
	return g.Enter(caddymsa.ClientNetwork(netip.MustParseAddr(ip)), g.limits, func() { g.closed = append(g.closed, name) })
}

func (g *gateTest) empty(t *testing.T) {
	t.Helper()
	if g.connections != 0 || g.strangers.len() != 0 || len(g.networks) != 0 || len(g.strangers.byN) != 0 {
		t.Errorf("not empty after all have left: %d connections, %d strangers, %d networks", g.connections, g.strangers.len(), len(g.networks))
	}
}

func TestGate(t *testing.T) {
	g := newGateTest(Limits{Connections: 3, ConnectionsPerIP: 2, Unauthenticated: 10})
	first, refused := g.come("first", "192.0.2.1")
	if refused != "" {
		t.Fatal(refused)
	}
	second, _ := g.come("second", "192.0.2.1")
	first.Authenticated()
	first.Authenticated() // counts once
	if _, refused = g.come("third", "192.0.2.1"); refused != "connections_per_ip" {
		t.Errorf("a third from one address: %q", refused)
	}
	third, refused := g.come("third", "192.0.2.2")
	if refused != "" {
		t.Error(refused)
	}
	second.Authenticated()
	if _, refused = g.come("fourth", "192.0.2.3"); refused != "connections" {
		t.Errorf("a fourth: %q", refused)
	}
	if refused := third.Move(caddymsa.ClientNetwork(netip.MustParseAddr("192.0.2.1")), g.limits); refused != "connections_per_ip" {
		t.Errorf("a third whose balancer says that it is from there: %q", refused)
	}
	for _, v := range []*visitor{first, second, third} {
		v.Leave()
		v.Leave()
	}
	g.empty(t)
}

// Strangers of a few addresses never keep one of another out: at the limit the oldest of those who
// have most makes room.
func TestGateMakesRoom(t *testing.T) {
	g := newGateTest(Limits{Unauthenticated: 4, UnauthenticatedPerIP: 100})
	var all []*visitor
	for i, ip := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.1"} {
		g.at = g.at.Add(time.Second)
		v, refused := g.come(fmt.Sprint("flood", i), ip)
		if refused != "" {
			t.Fatal(refused)
		}
		all = append(all, v)
	}
	for i := range 4 {
		g.at = g.at.Add(time.Millisecond)
		v, refused := g.come(fmt.Sprint("honest", i), fmt.Sprintf("198.51.100.%d", i))
		if refused != "" {
			t.Fatal(refused)
		}
		v.Authenticated()
		all = append(all, v)
	}
	if len(g.closed) != 1 || g.closed[0] != "flood0" {
		t.Errorf("closed %v", g.closed)
	}
	// One who was told to make room, and authenticates at that very moment, stays.
	all[0].Authenticated()
	if g.connections != 8 || g.strangers.len() != 3 {
		t.Errorf("%d connections, %d strangers", g.connections, g.strangers.len())
	}
	for _, v := range all {
		v.Leave()
	}
	g.empty(t)
}

// From half of the places on a network may have twenty, and patience shrinks; below that neither counts.
func TestGateUnderPressure(t *testing.T) {
	g := newGateTest(Limits{Unauthenticated: 100})
	for i := range 51 { // one address, a quiet server
		if _, refused := g.come("quiet", "192.0.2.1"); refused != "" {
			t.Fatalf("stranger %d: %s", i, refused)
		}
	}
	if _, refused := g.come("quiet", "192.0.2.1"); refused != "unauthenticated_per_ip" {
		t.Errorf("over half: %q", refused)
	}
	if len(g.closed) > 0 {
		t.Errorf("closed %v", g.closed)
	}
	for i := range 24 {
		if _, refused := g.come("flood", fmt.Sprintf("198.51.100.%d", i)); refused != "" {
			t.Fatal(refused)
		}
	}
	g.at = g.at.Add(40 * time.Second) // of 60, when three quarters are taken: patience is down to 37.5
	if _, refused := g.come("late", "203.0.113.1"); refused != "" || len(g.closed) == 0 || g.closed[0] != "quiet" {
		t.Errorf("%q, closed %v", refused, g.closed)
	}
	if left := g.strangers.len(); left != 72 { // which makes patience longer than 40 s again
		t.Errorf("%d strangers are left", left)
	}
}

// A flood costs as much a connection, however many networks take part in it.
func BenchmarkGateFlood(b *testing.B) {
	g := newGateTest(Limits{Connections: 1 << 30})
	for i := range b.N {
		g.at = g.at.Add(time.Millisecond)
		_, _ = g.come("", netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String())
	}
}
