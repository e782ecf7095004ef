package gate

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

var (
	guesser = netip.MustParseAddr("192.0.2.1")
	owner   = netip.MustParseAddr("198.51.100.7")
)

// guardTest is a guard with a clock that the test turns.
type guardTest struct{ *guard }

func testGuard() (guardTest, *time.Time) {
	g, now := newGuard(), time.Unix(1e9, 0)
	g.clock = func() time.Time { return now }
	return guardTest{g}, &now
}

// question is one that is under way, whatever the throttle has to say to it.
func (g guardTest) question(config *Throttle, ip netip.Addr, user string) *Claim {
	if !config.applies(ip) {
		return nil
	}
	c := &Claim{g: g.guard, throttle: config, network: caddymsa.ClientNetwork(ip), user: user}
	c.keys = []guardKey{{network: c.network}, keyOf(c.network, user)}
	for _, k := range c.keys {
		g.countOf(config, k).asked++
	}
	return c
}

func (g guardTest) refused(config *Throttle, ip netip.Addr, user string) (time.Duration, string) {
	return g.question(config, ip, user).Refused()
}

func (g guardTest) accepted(config *Throttle, ip netip.Addr, user string) {
	g.question(config, ip, user).Accepted()
}

func (g guardTest) blocked(config *Throttle, ip netip.Addr, user string) bool {
	c, err := g.Claim(context.Background(), config, ip, user)
	c.release()
	return errors.Is(err, ErrThrottled)
}

func throttleOf(t *testing.T, throttle Throttle) *Throttle {
	t.Helper()
	if err := throttle.Provision("test", zap.NewNop()); err != nil {
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
		g.accepted(config, ip, "mine") // pays for nothing
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
		g.accepted(config, owner, "alice")
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
	if g.blocked(config, netip.Addr{}, "alice") || len(g.counts) > 0 {
		t.Error("what is not throttled was counted")
	}
}

func TestThrottleIsBounded(t *testing.T) {
	g, _ := testGuard()
	config := throttleOf(t, Throttle{})
	for i := range maxGuarded {
		g.refused(config, guesser, "user"+strconv.Itoa(i))
		if len(g.counts) > maxGuarded {
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
		if err := throttle.Provision("test", zap.NewNop()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", throttle, err, want)
		}
	}
}

// Sixty guesses at the same moment are ten, however fast a backend is.
func TestThrottleReserves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard()
		config := throttleOf(t, Throttle{})
		asked, blocked := 0, 0
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 60 {
			user := []string{"alice", "ALICE", "Alice ", "\uff41lice", "al\u00adice", "\u00e1lice"}[i%6] // one name to some backend
			all.Go(func() {
				c, err := g.Claim(t.Context(), config, guesser, user)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					asked++
				case errors.Is(err, ErrThrottled):
					blocked++
					c.Abandoned() // as at the end of each exchange
					return
				default:
					t.Error(err)
				}
				go func() {
					time.Sleep(time.Second)
					c.Refused()
				}()
			})
		}
		all.Wait()
		if asked != 10 || blocked != 50 {
			t.Errorf("%d asked, %d blocked", asked, blocked)
		}
		for k, f := range g.counts {
			if f.asked != 0 || f.level > 10 {
				t.Errorf("%v is left with %+v", k, f)
			}
		}
	})
}

// three hundred log-ins at the same moment from one address succeed, of one user as of many.
func TestThrottleLetsManyIn(t *testing.T) {
	for _, users := range []int{1, 300} {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard()
			config := throttleOf(t, Throttle{})
			var all sync.WaitGroup
			for i := range 300 {
				all.Go(func() {
					c, err := g.Claim(t.Context(), config, guesser, "user"+strconv.Itoa(i%users))
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(10 * time.Millisecond)
					c.Accepted()
				})
			}
			all.Wait()
			for k, f := range g.counts {
				if f.asked != 0 || f.level != 0 {
					t.Errorf("%v is left with %+v", k, f)
				}
			}
		})
	}
}

// While no backend can answer, a network has thirty questions and then one every two seconds; the
// first answer ends that.
func TestThrottleUnanswered(t *testing.T) {
	g, now := testGuard()
	config := throttleOf(t, Throttle{})
	ask := func() (c *Claim, asked bool) {
		c, err := g.Claim(t.Context(), config, guesser, "alice")
		if err != nil && !errors.Is(err, errNotAsked) {
			t.Fatal(err)
		}
		return c, err == nil
	}
	asked := 0
	for range 1000 {
		if c, ok := ask(); ok {
			asked++
			c.Unanswered()
		}
		*now = now.Add(10 * time.Millisecond)
	}
	if asked < 30 || asked > 36 {
		t.Errorf("%d questions in 10 s", asked)
	}
	if other, err := g.Claim(t.Context(), config, owner, "alice"); err != nil {
		t.Error("another network:", err)
	} else {
		other.release()
	}
	*now = now.Add(2 * time.Second)
	c, ok := ask()
	if !ok {
		t.Fatal("not asked after the pause")
	}
	c.Refused() // which is an answer
	for range 5 {
		if c, ok = ask(); !ok {
			t.Fatal("not asked though a backend answers again")
		}
		c.release()
	}
}

// What is not asked counts for nothing, however often clients come: no pause becomes longer by it, and nothing is left of the
// names that they give.
func TestThrottleNotAsked(t *testing.T) {
	g, now := testGuard()
	config := throttleOf(t, Throttle{})
	asked := 0
	for i := range 1000 {
		c, err := g.Claim(t.Context(), config, guesser, "user"+strconv.Itoa(i))
		if err == nil {
			asked++
		}
		c.Unanswered() // as an exchange does that could not be decided
		c.Abandoned()  // and does in the end
		*now = now.Add(10 * time.Millisecond)
	}
	if asked < 33 || asked > 36 {
		t.Errorf("%d questions in 10 s", asked)
	}
	if len(g.counts) > asked+2 {
		t.Errorf("%d names and networks are counted", len(g.counts))
	}
	for k, f := range g.counts {
		if f.asked != 0 {
			t.Errorf("%v is left with %+v", k, f)
		}
	}
}

// What asks and does not wait for the answer counts for its network, not for the user that it names.
func TestThrottleAbandoned(t *testing.T) {
	g, _ := testGuard()
	config := throttleOf(t, Throttle{NetworkFailures: 20})
	for range 20 {
		g.question(config, guesser, "alice").Abandoned()
	}
	if !g.guard.Blocked(context.Background(), config, guesser) || g.counts[keyOf(caddymsa.ClientNetwork(guesser), "alice")].level != 0 {
		t.Error("the network is not blocked, or the user is")
	}
}
