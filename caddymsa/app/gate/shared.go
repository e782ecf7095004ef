package gate

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
)

// What nodes share of a throttle are, for each key of a guard, a count of refusals that shrinks as it does here, and how much
// longer the key is blocked. This node's own counts are a copy of them, with which it goes on while nobody answers.

// share prepares the throttle of a server to count where other nodes see it, if it is set to.
func (t *Throttle) share(server string, log *zap.Logger) (err error) {
	if t.Off && (t.Redis != nil || t.Spool != nil) {
		return fmt.Errorf("is off and has counts that nodes share; remove one or the other")
	}
	if t.shared, err = t.Open("throttle", log); err != nil {
		return err
	}
	if t.shared != nil && t.shared.OnFailure != sharing.FailLocal {
		return fmt.Errorf("on_failure: when nobody answers, this node's own counts go on; leave it out")
	}
	t.server = server
	return nil
}

// CountIn has the throttle count in a spool, if it is set to.
func (t *Throttle) CountIn(spool counts.Counter) { t.spool = spool }

// Close ends what Provision began.
func (t *Throttle) Close() error { return t.shared.Close() }

// unit is what one refusal is of a count that nodes share: the time until it is forgotten.
func (t *Throttle) unit(limit int) int64 {
	return max(1, (time.Duration(t.Window) / time.Duration(limit)).Microseconds())
}

func (t *Throttle) refusalsOf(k guardKey) string { return t.sharedKey("refusals", k) }
func (t *Throttle) blockOf(k guardKey) string    { return t.sharedKey("block", k) }

func (t *Throttle) sharedKey(what string, k guardKey) string {
	return fmt.Sprintf("%s\x00%s\x00%s\x00%d\x00%x", t.server, what, k.network, k.kind, k.user)
}

// learn takes over what all nodes together have counted of keys, in the place of what this one has: another may have let the user in
// since, or lifted a block.
func (g *guard) learn(ctx context.Context, t *Throttle, keys []guardKey) {
	if t.shared == nil {
		return
	}
	changes := []counts.Change{t.lifts(0)} // before the blocks: if one is lifted meanwhile, they are asked about again
	for _, k := range keys {
		changes = append(changes, counts.Change{Key: t.refusalsOf(k)}, counts.Change{Key: t.blockOf(k)})
	}
	found, err := t.shared.Count(ctx, t.spool, changes...)
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock()
	g.lifts, g.liftsAsked, found = found[0].Level, now, found[1:]
	for i, k := range keys {
		refusals, block := found[2*i].Level, time.Duration(found[2*i+1].Level)*time.Microsecond
		if refusals == 0 && block == 0 && g.counts[k] == nil {
			continue
		}
		f := g.countOf(t, k)
		f.level, f.at = float64(refusals)/float64(t.unit(t.limit(k))), now
		if until := now.Add(block); until.After(f.blocked) || f.lifts != g.lifts {
			f.blocked, f.lifts = until, g.lifts
		}
	}
}

// lifts is how often blocks have been lifted, on whichever node: a change of that count.
func (t *Throttle) lifts(add int64) counts.Change {
	return counts.Change{Key: t.server + "\x00lifts", Add: add, Keep: keepLifts}
}

const (
	// keepLifts is how long the count of lifts is kept. When it begins again, each block is asked about once more than need be.
	keepLifts = 24 * time.Hour
	// liftsEvery is how often a node asks for it, however many come who are blocked, and how much longer than on the node where it was
	// lifted a block lasts at most.
	liftsEvery = time.Second
)

// confirm asks again about blocks of keys, if any have been lifted on another node since this one learnt of them.
func (g *guard) confirm(ctx context.Context, t *Throttle, keys []guardKey) {
	if t.shared == nil {
		return
	}
	g.mu.Lock()
	now := g.clock()
	ask := now.Sub(g.liftsAsked) >= liftsEvery
	if ask {
		g.liftsAsked = now
	}
	g.mu.Unlock()
	if ask {
		found, err := t.shared.Count(ctx, t.spool, t.lifts(0))
		if err != nil {
			return
		}
		g.mu.Lock()
		g.lifts = found[0].Level
		g.mu.Unlock()
	}
	if g.outdated(keys) {
		g.learn(ctx, t, keys)
	}
}

// outdated tells whether blocks have been lifted since one of keys was learnt of.
func (g *guard) outdated(keys []guardKey) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(keys, func(k guardKey) bool { return g.isBlocked(k) && g.counts[k].lifts != g.lifts })
}

// publish counts a refusal for other nodes, and returns how many there are of each key, with theirs.
func (c *Claim) publish(keys []guardKey) (refusals map[guardKey]float64) {
	t := c.throttle
	if t.shared == nil {
		return nil
	}
	var changes []counts.Change
	for _, k := range keys {
		changes = append(changes, counts.Change{Key: t.refusalsOf(k), Add: t.unit(t.limit(k))})
	}
	found, err := t.shared.Count(context.Background(), t.spool, changes...)
	if err != nil {
		return nil
	}
	refusals = make(map[guardKey]float64)
	for i, k := range keys {
		refusals[k] = math.Ceil(float64(found[i].Level) / float64(t.unit(t.limit(k))))
	}
	return refusals
}

// publishBlocks has other nodes block what this one does.
func (c *Claim) publishBlocks(keys []guardKey) {
	t := c.throttle
	if t.shared == nil || len(keys) == 0 {
		return
	}
	var changes []counts.Change
	block := time.Duration(t.Block).Microseconds()
	for _, k := range keys {
		changes = append(changes, counts.Change{Key: t.blockOf(k), Add: block, Max: block})
	}
	_ = t.shared.Return(t.spool, changes...)
}

// forget has other nodes forget a user's mistakes.
func (c *Claim) forget(keys []guardKey) {
	t := c.throttle
	if t.shared == nil || len(keys) == 0 {
		return
	}
	var changes []counts.Change
	for _, k := range keys {
		changes = append(changes, counts.Change{Key: t.refusalsOf(k), Add: math.MinInt32 * int64(1e6)})
	}
	_ = t.shared.Return(t.spool, changes...)
}
