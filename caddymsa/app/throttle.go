package app

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Throttle slows guessing of passwords down, and then blocks it: by client network (an IPv4
// address, or the /64 of an IPv6 host) and by user and network together, never by user alone,
// so that a stranger cannot lock the owner out. What counts are refused credentials; a client
// that is who it says may come as often as it likes. Clients on unix sockets are not
// throttled. The counts outlive reloads.
type Throttle struct {
	// Off switches it off.
	Off bool `json:"off,omitempty"`
	// Failures is how many refusals one user name may have from one network in Window. From
	// the next on, AUTH as that user from there is answered with 454 4.7.0 for Block, without
	// looking at the password. Default 10.
	Failures int `json:"failures,omitempty"`
	// NetworkFailures is the same for all names together, and then for all AUTH from
	// there. Default 100.
	NetworkFailures int `json:"network_failures,omitempty"`
	// Window is how long it takes until a full count is forgotten; it shrinks
	// steadily. Default 10m.
	Window conf.Duration `json:"window,omitempty"`
	// Block is how long a block lasts. Default 10m.
	Block conf.Duration `json:"block,omitempty"`
	// Delay is how much longer each refusal takes than the one before, once a third of
	// Failures or NetworkFailures is reached; ten times that at most. Default 1s.
	Delay conf.Duration `json:"delay,omitempty"`
	// Except are networks that are not throttled, in CIDR notation.
	Except []string `json:"except,omitempty"`

	except []netip.Prefix
}

func (t *Throttle) provision() error {
	for _, s := range t.Except {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			ip, err := netip.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("except: %q is neither a network, as in 192.0.2.0/24, nor an address", s)
			}
			p = netip.PrefixFrom(ip, ip.BitLen())
		}
		t.except = append(t.except, p.Masked())
	}
	if t.Off && (t.Failures != 0 || t.NetworkFailures != 0) {
		return errors.New("is off and has limits; remove one or the other")
	}
	return firstError(
		setDefault(&t.Failures, 10, "failures"),
		setDefault(&t.NetworkFailures, 100, "network_failures"),
		setDefault(&t.Window, conf.Duration(10*time.Minute), "window"),
		setDefault(&t.Block, conf.Duration(10*time.Minute), "block"),
		setDefault(&t.Delay, conf.Duration(time.Second), "delay"),
	)
}

// applies tells whether clients from there are throttled.
func (t *Throttle) applies(ip netip.Addr) bool {
	return !t.Off && ip.IsValid() && !slices.ContainsFunc(t.except, func(p netip.Prefix) bool { return p.Contains(ip.WithZone("")) })
}

// guard counts refusals.
type guard struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[guardKey]*failures
}

func newGuard() *guard {
	return &guard{now: time.Now, entries: make(map[guardKey]*failures)}
}

// guardKey is a network, or a user there: a hash, since a name may be long.
type guardKey struct {
	network netip.Prefix
	user    [16]byte
}

func keyOf(network netip.Prefix, user string) guardKey {
	sum := sha256.Sum256([]byte(user))
	return guardKey{network, [16]byte(sum[:])}
}

// failures is a count that shrinks with time.
type failures struct {
	level   float64
	at      time.Time // when it was level
	blocked time.Time // until then
}

// maxGuarded bounds the memory of a guard, to some 15 MiB.
const maxGuarded = 100_000

// blocked tells whether AUTH as user, or as anyone if user is empty, is not to be looked at.
func (g *guard) blocked(t *Throttle, ip netip.Addr, user string) bool {
	if !t.applies(ip) {
		return false
	}
	network := caddymsa.ClientNetwork(ip)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	keys := []guardKey{{network: network}}
	if user != "" {
		keys = append(keys, keyOf(network, user))
	}
	return slices.ContainsFunc(keys, func(k guardKey) bool {
		f := g.entries[k]
		return f != nil && now.Before(f.blocked)
	})
}

// refused counts a refusal. It returns how long to hold the reply back, and what is blocked
// from now on: "user", "network" or nothing.
func (g *guard) refused(t *Throttle, ip netip.Addr, user string) (delay time.Duration, blocks string) {
	if !t.applies(ip) {
		return 0, ""
	}
	network := caddymsa.ClientNetwork(ip)
	g.mu.Lock()
	defer g.mu.Unlock()
	delay, full := g.count(t, guardKey{network: network}, t.NetworkFailures)
	if full {
		blocks = "network"
	}
	if user == "" {
		return delay, blocks
	}
	byUser, full := g.count(t, keyOf(network, user), t.Failures)
	if full && blocks == "" {
		blocks = "user"
	}
	return max(delay, byUser), blocks
}

func (g *guard) count(t *Throttle, k guardKey, limit int) (delay time.Duration, full bool) {
	now := g.now()
	f := g.entries[k]
	if f == nil {
		g.makeRoom(t, now)
		f = &failures{at: now}
		g.entries[k] = f
	}
	f.level = max(0, f.level-float64(limit)*float64(now.Sub(f.at))/float64(t.Window)) + 1
	f.at = now
	level := math.Ceil(f.level) // the limit's refusal counts though moments have passed
	if level >= float64(limit) {
		full = !now.Before(f.blocked)
		f.blocked = now.Add(time.Duration(t.Block))
	}
	over := min(max(0, level-float64(limit)/3), 10)
	return time.Duration(over * float64(t.Delay)), full
}

// makeRoom forgets what counts for nothing any more, and some of the rest if that does not help.
func (g *guard) makeRoom(t *Throttle, now time.Time) {
	if len(g.entries) < maxGuarded {
		return
	}
	for k, f := range g.entries {
		if now.After(f.blocked) && now.Sub(f.at) > time.Duration(t.Window) {
			delete(g.entries, k)
		}
	}
	for k := range g.entries {
		if len(g.entries) <= maxGuarded*9/10 {
			return
		}
		delete(g.entries, k)
	}
}

// accepted forgets the user's own mistakes. Those of its network stay: one right password must
// not pay for guessing others.
func (g *guard) accepted(ip netip.Addr, user string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.entries, keyOf(caddymsa.ClientNetwork(ip), user))
}
