package app

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	guesser = netip.MustParseAddr("192.0.2.1")
	owner   = netip.MustParseAddr("198.51.100.7")
)

// testGuard has a clock that the test turns.
func testGuard() (*guard, *time.Time) {
	g, now := newGuard(), time.Unix(1e9, 0)
	g.now = func() time.Time { return now }
	return g, &now
}

func throttleOf(t *testing.T, throttle Throttle) *Throttle {
	t.Helper()
	if err := throttle.provision(); err != nil {
		t.Fatal(err)
	}
	return &throttle
}

// Guessing one user's password slows down, is blocked, and may go on after a while; the
// owner elsewhere notices nothing, nor do others from there.
func TestThrottleUser(t *testing.T) {
	g, now := testGuard()
	config := throttleOf(t, Throttle{})
	var last time.Duration
	for i := 1; i <= 10; i++ {
		if g.blocked(config, guesser, "alice") {
			t.Fatalf("blocked before refusal %d", i)
		}
		delay, blocks := g.refused(config, guesser, "alice")
		if i <= 3 && delay != 0 || i > 3 && delay <= last {
			t.Errorf("refusal %d: a delay of %v after one of %v", i, delay, last)
		}
		if (blocks == "user") != (i == 10) {
			t.Errorf("refusal %d blocks %q", i, blocks)
		}
		last = delay
		*now = now.Add(time.Millisecond)
	}
	if !g.blocked(config, guesser, "alice") {
		t.Error("not blocked after 10 refusals")
	}
	if g.blocked(config, owner, "alice") || g.blocked(config, guesser, "bob") || g.blocked(config, guesser, "") {
		t.Error("somebody else is blocked too")
	}
	*now = now.Add(10 * time.Minute)
	if g.blocked(config, guesser, "alice") {
		t.Error("still blocked after 10 minutes")
	}
	if delay, blocks := g.refused(config, guesser, "alice"); delay != 0 || blocks != "" {
		t.Error("the old count was not forgotten:", delay, blocks)
	}
}

// Guessing many users' passwords from one network is blocked as a whole; for IPv6 that is a /64.
func TestThrottleNetwork(t *testing.T) {
	g, _ := testGuard()
	config := throttleOf(t, Throttle{NetworkFailures: 50})
	for i := range 50 {
		ip := netip.MustParseAddr("2001:db8::" + strconv.Itoa(i))
		if g.blocked(config, ip, "") {
			t.Fatalf("blocked after %d refusals", i)
		}
		g.refused(config, ip, "user"+strconv.Itoa(i))
		g.accepted(ip, "mine") // pays for nothing
	}
	if !g.blocked(config, netip.MustParseAddr("2001:db8::ffff"), "") {
		t.Error("the network is not blocked")
	}
	if g.blocked(config, netip.MustParseAddr("2001:db8:0:1::"), "") {
		t.Error("the next network is blocked")
	}
}

// A right password forgets the typing errors before it; time forgets them too.
func TestThrottleForgets(t *testing.T) {
	g, now := testGuard()
	config := throttleOf(t, Throttle{})
	for range 30 {
		g.refused(config, owner, "alice")
		g.refused(config, owner, "alice")
		g.accepted(owner, "alice")
		*now = now.Add(time.Minute)
	}
	for range 100 {
		g.refused(config, owner, "alice")
		*now = now.Add(time.Minute) // as fast as they are forgotten
	}
	if g.blocked(config, owner, "alice") {
		t.Error("blocked by old failures")
	}
}

func TestThrottleExcept(t *testing.T) {
	g, _ := testGuard()
	for _, config := range []*Throttle{
		throttleOf(t, Throttle{Except: []string{"192.0.2.0/24"}}), throttleOf(t, Throttle{Except: []string{"192.0.2.1"}}), throttleOf(t, Throttle{Off: true}),
	} {
		for range 200 {
			if delay, blocks := g.refused(config, guesser, "alice"); delay != 0 || blocks != "" {
				t.Fatal(delay, blocks)
			}
		}
	}
	config := throttleOf(t, Throttle{})
	for range 200 { // a unix socket's peer
		g.refused(config, netip.Addr{}, "alice")
	}
	if g.blocked(config, netip.Addr{}, "alice") || len(g.entries) > 0 {
		t.Error("what is not throttled was counted")
	}
}

func TestThrottleIsBounded(t *testing.T) {
	g, _ := testGuard()
	config := throttleOf(t, Throttle{})
	for i := range maxGuarded {
		g.refused(config, guesser, "user"+strconv.Itoa(i))
		if len(g.entries) > maxGuarded {
			t.Fatal("more entries than there may be")
		}
	}
	g.refused(config, guesser, strings.Repeat("x", 10000))
}

func TestThrottleConfig(t *testing.T) {
	for want, throttle := range map[string]Throttle{
		"neither a network": {Except: []string{"office"}},
		"is off and has":    {Off: true, Failures: 3},
		"must not be":       {Failures: -1},
	} {
		if err := throttle.provision(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", throttle, err, want)
		}
	}
}
