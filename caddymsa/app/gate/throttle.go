package gate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"go.uber.org/zap"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
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
	// the next on, AUTH as that user from there is answered with 421 4.7.0 for Block, without
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
	// Where several nodes share the counts. Default: each counts for itself.
	sharing.Sharing

	except []netip.Prefix
	server string          // whose counts they are
	shared *sharing.Counts // nil: each node counts for itself
	spool  counts.Counter
}

// Provision sets the defaults and refuses what cannot be meant, for the server of that name.
func (t *Throttle) Provision(server string, log *zap.Logger) error {
	for _, s := range t.Except {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			ip, err := netip.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("except: %q is neither a network (for example 192.0.2.0/24) nor an address", s)
			}
			p = netip.PrefixFrom(ip, ip.BitLen())
		}
		t.except = append(t.except, p.Masked())
	}
	if t.Off && (t.Failures != 0 || t.NetworkFailures != 0) {
		return errors.New("is off and has limits; remove one or the other")
	}
	if err := t.share(server, log); err != nil {
		return err
	}
	return conf.First(
		conf.SetDefault(&t.Failures, 10, "failures"),
		conf.SetDefault(&t.NetworkFailures, 100, "network_failures"),
		conf.SetDefault(&t.Window, conf.Duration(10*time.Minute), "window"),
		conf.SetDefault(&t.Block, conf.Duration(10*time.Minute), "block"),
		conf.SetDefault(&t.Delay, conf.Duration(time.Second), "delay"),
	)
}

// applies tells whether clients from there are throttled.
func (t *Throttle) applies(ip netip.Addr) bool {
	return !t.Off && ip.IsValid() && !slices.ContainsFunc(t.except, func(p netip.Prefix) bool { return p.Contains(ip.WithZone("")) })
}

// guard counts refusals, and questions to backends that are under way: what is under way may yet be
// refused, so no more of them are let through than the limits have room for. The others wait.
type guard struct {
	clock func() time.Time

	mu     sync.Mutex
	counts map[guardKey]*failures
	// Where nodes share the counts: how often blocks have been lifted, as far as is known here, and when that was asked.
	lifts      int64
	liftsAsked time.Time
}

func newGuard() *guard {
	return &guard{clock: time.Now, counts: make(map[guardKey]*failures)}
}

// guardKey is a network, or a user there: a hash, since a name may be long.
type guardKey struct {
	network netip.Prefix
	kind    guardKind
	user    [16]byte
}

type guardKind uint8

const (
	byNetwork guardKind = iota
	byUser
	unanswered // questions of a network that no backend could answer
)

func keyOf(network netip.Prefix, user string) guardKey {
	sum := sha256.Sum256([]byte(foldUser(user)))
	return guardKey{network, byUser, [16]byte(sum[:])}
}

// failures is a count that shrinks with time.
type failures struct {
	level   float64
	at      time.Time // when it was level
	blocked time.Time // until then
	lifts   int64     // how many blocks had been lifted then
	user    string    // whom it is about, once it is blocked
	asked   int       // questions under way
	freed   chan struct{}
}

// maxGuarded bounds the memory of a guard, to some 15 MiB.
const maxGuarded = 100_000

// While backends cannot answer, a network has maxUnanswered questions a minute; beyond that one every
// unansweredPause, until one is answered.
const (
	maxUnanswered   = 30
	unansweredPause = 2 * time.Second
)

// Blocked tells whether AUTH from there is not to be looked at, whoever the client says to be.
func (g *guard) Blocked(ctx context.Context, t *Throttle, ip netip.Addr) bool {
	return t.applies(ip) && g.blocks(ctx, t, []guardKey{{network: caddymsa.ClientNetwork(ip)}})
}

// blocks tells whether one of keys is blocked. Who is not is not asked about.
func (g *guard) blocks(ctx context.Context, t *Throttle, keys []guardKey) bool {
	blocked := func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return slices.ContainsFunc(keys, g.isBlocked)
	}
	if !blocked() {
		return false
	}
	g.confirm(ctx, t, keys)
	return blocked()
}

func (g *guard) isBlocked(k guardKey) bool {
	f := g.counts[k]
	return f != nil && g.clock().Before(f.blocked)
}

// claim is the right to ask backends about a client, and to be answered once. A nil claim is one
// where nothing is counted.
type Claim struct {
	g        *guard
	throttle *Throttle
	network  netip.Prefix
	user     string
	keys     []guardKey
	over     bool
}

// Claim reserves a question about a user, or about nobody yet. It waits while those under way could
// exhaust the limits. ErrThrottled: the client is blocked.
func (g *guard) Claim(ctx context.Context, t *Throttle, ip netip.Addr, user string) (*Claim, error) {
	if !t.applies(ip) {
		return nil, nil
	}
	c := &Claim{g: g, throttle: t, network: caddymsa.ClientNetwork(ip), user: user}
	c.keys = []guardKey{{network: c.network}}
	if user != "" {
		c.keys = append(c.keys, keyOf(c.network, user))
	}
	if g.blocks(ctx, t, c.keys) { // whoever is blocked has nobody asked
		return nil, ErrThrottled
	}
	g.learn(ctx, t, c.keys)
	for {
		freed, err := c.try()
		switch {
		case err != nil: // nothing is reserved, so nothing is to be counted or given back
			return nil, err
		case freed == nil:
			return c, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: as many questions about this client are under way as may fail", caddymsa.ErrBusy)
		}
	}
}

// try reserves, or returns what to wait for.
func (c *Claim) try() (freed <-chan struct{}, err error) {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	if slices.ContainsFunc(c.keys, c.g.isBlocked) {
		return nil, ErrThrottled
	}
	if c.g.isBlocked(guardKey{network: c.network, kind: unanswered}) {
		return nil, errNotAsked
	}
	for _, k := range c.keys {
		f := c.g.countOf(c.throttle, k)
		if f.asked > 0 && int(math.Ceil(f.now(c.g.clock(), c.throttle, c.throttle.limit(k))))+f.asked >= c.throttle.limit(k) {
			if f.freed == nil {
				f.freed = make(chan struct{})
			}
			return f.freed, nil
		}
	}
	for _, k := range c.keys {
		c.g.countOf(c.throttle, k).asked++
	}
	return nil, nil
}

// ErrThrottled says that a client is blocked, and was not asked about.
var ErrThrottled = errors.New("too many failed authentications from there")

var errNotAsked = errors.New("not asked, as too many questions from there could not be answered")

func (t *Throttle) limit(k guardKey) int {
	if k.kind == byUser {
		return t.Failures
	}
	return t.NetworkFailures
}

// ended tells whether it is a claim of which nothing is to be counted any more, or never was.
func (c *Claim) ended() bool {
	if c == nil {
		return true
	}
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	return c.over
}

// end gives the reservation back; further calls do nothing.
func (c *Claim) end(then func()) {
	if c == nil {
		return
	}
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	for _, k := range c.keys {
		f := c.g.countOf(c.throttle, k)
		f.asked--
		if f.freed != nil {
			close(f.freed)
			f.freed = nil
		}
	}
	if then != nil {
		then()
	}
}

// release ends a question that was not asked.
func (c *Claim) release() { c.end(nil) }

// Abandoned ends a question whose answer the client did not wait for. It had a backend's work and
// proved nothing, so its network answers for it; the user does not.
func (c *Claim) Abandoned() {
	if c.ended() {
		return
	}
	network := c.keys[:1]
	refusals := c.publish(network)
	blocked := false
	c.end(func() {
		_, blocked = c.g.count(c.throttle, network[0], c.throttle.NetworkFailures, refusals[network[0]])
	})
	if blocked {
		c.publishBlocks(network)
	}
}

// Refused counts a refusal. It returns how long to hold the reply back, and what is blocked
// from now on: "user", "network" or nothing.
func (c *Claim) Refused() (delay time.Duration, blocks string) {
	if c.ended() {
		return 0, ""
	}
	var blocked []guardKey
	refusals := c.publish(c.keys)
	c.end(func() {
		c.answered()
		for _, k := range c.keys {
			d, full := c.g.count(c.throttle, k, c.throttle.limit(k), refusals[k])
			delay = max(delay, d)
			if full {
				blocked = append(blocked, k)
			}
			switch {
			case full && k.kind == byNetwork:
				blocks = "network"
			case full && blocks == "":
				blocks = "user"
			}
			if full && k.kind == byUser {
				c.g.counts[k].user = shortened(c.user)
			}
		}
	})
	c.publishBlocks(blocked)
	return delay, blocks
}

// Accepted forgets the user's own mistakes. Those of its network stay: one right password must
// not pay for guessing others.
func (c *Claim) Accepted() {
	if c.ended() {
		return
	}
	var mistaken []guardKey
	c.end(func() {
		c.answered()
		for _, k := range c.keys {
			if f := c.g.counts[k]; k.kind == byUser && f != nil {
				if f.level > 0 {
					mistaken = append(mistaken, k)
				}
				f.level = 0
				if f.asked == 0 {
					delete(c.g.counts, k)
				}
			}
		}
	})
	c.forget(mistaken)
}

// Unanswered counts a question that no backend could answer: it says nothing about the client, but
// a stranger must not have thousands of them asked.
func (c *Claim) Unanswered() {
	c.end(func() {
		pause := &Throttle{Window: conf.Duration(time.Minute), Block: conf.Duration(unansweredPause)}
		c.g.count(pause, guardKey{network: c.network, kind: unanswered}, maxUnanswered, 0)
	})
}

func (c *Claim) answered() { delete(c.g.counts, guardKey{network: c.network, kind: unanswered}) }

func (g *guard) countOf(t *Throttle, k guardKey) *failures {
	f := g.counts[k]
	if f == nil {
		g.makeRoom(t)
		f = &failures{at: g.clock()}
		g.counts[k] = f
	}
	return f
}

// now is the level at a moment.
func (f *failures) now(at time.Time, t *Throttle, limit int) float64 {
	return max(0, f.level-float64(limit)*float64(at.Sub(f.at))/float64(t.Window))
}

// count counts one more; least is how many there are with those of other nodes.
func (g *guard) count(t *Throttle, k guardKey, limit int, least float64) (delay time.Duration, full bool) {
	now := g.clock()
	f := g.countOf(t, k)
	f.level = max(f.now(now, t, limit)+1, least)
	f.at = now
	level := math.Ceil(f.level) // the limit's refusal counts though moments have passed
	if level >= float64(limit) {
		full = !now.Before(f.blocked)
		f.blocked, f.lifts = now.Add(time.Duration(t.Block)), g.lifts
	}
	over := min(max(0, level-float64(limit)/3), 10)
	return time.Duration(over * float64(t.Delay)), full
}

// makeRoom forgets what counts for nothing any more, and some of the rest if that does not help.
func (g *guard) makeRoom(t *Throttle) {
	if len(g.counts) < maxGuarded {
		return
	}
	now := g.clock()
	for k, f := range g.counts {
		if f.asked == 0 && now.After(f.blocked) && now.Sub(f.at) > time.Duration(t.Window) {
			delete(g.counts, k)
		}
	}
	for k, f := range g.counts {
		if len(g.counts) <= maxGuarded*9/10 {
			return
		}
		if f.asked == 0 {
			delete(g.counts, k)
		}
	}
}

// foldUser is coarser than any backend's view of what is one name: capitals, width, accents, spaces
// and what is invisible do not make another guess of one.
func foldUser(user string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(user) {
		if unicode.IsSpace(r) || unicode.Is(unicode.Mn, r) || !unicode.IsPrint(r) {
			continue
		}
		b.WriteRune(r)
	}
	return cases.Fold().String(b.String())
}
