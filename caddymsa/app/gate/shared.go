package gate

import (
	"context"
	"fmt"
	"math"
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

// learn takes over what all nodes together have counted, in the place of what this one has: another may have let the user in since.
func (c *Claim) learn(ctx context.Context) {
	t := c.throttle
	if t.shared == nil {
		return
	}
	var changes []counts.Change
	for _, k := range c.keys {
		changes = append(changes, counts.Change{Key: t.refusalsOf(k)}, counts.Change{Key: t.blockOf(k)})
	}
	found, err := t.shared.Count(ctx, t.spool, changes...)
	if err != nil {
		return
	}
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	now := c.g.clock()
	for i, k := range c.keys {
		refusals, block := found[2*i].Level, time.Duration(found[2*i+1].Level)*time.Microsecond
		if refusals == 0 && block == 0 && c.g.counts[k] == nil {
			continue
		}
		f, limit := c.g.countOf(t, k), c.limit(k)
		f.level, f.at = float64(refusals)/float64(t.unit(limit)), now
		if until := now.Add(block); until.After(f.blocked) {
			f.blocked = until
		}
	}
}

// publish counts a refusal for other nodes, and returns how many there are of each key, with theirs.
func (c *Claim) publish(keys []guardKey) (refusals map[guardKey]float64) {
	t := c.throttle
	if t.shared == nil {
		return nil
	}
	var changes []counts.Change
	for _, k := range keys {
		changes = append(changes, counts.Change{Key: t.refusalsOf(k), Add: t.unit(c.limit(k))})
	}
	found, err := t.shared.Count(context.Background(), t.spool, changes...)
	if err != nil {
		return nil
	}
	refusals = make(map[guardKey]float64)
	for i, k := range keys {
		refusals[k] = math.Ceil(float64(found[i].Level) / float64(t.unit(c.limit(k))))
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
