package policyrate

import (
	"context"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
)

// token is what was taken, and where.
type token struct {
	key   string
	cost  time.Duration
	local bool
}

// want is what a level's bucket is asked for.
type want struct {
	rate
	key  string
	cost time.Duration
	wait time.Duration // until it is there
}

// draw takes a token from each bucket, or from none if one is empty, which it returns with how long to wait. With peek it takes nothing.
// While nobody answers where nodes share them, this node's own buckets count, unless the operator wants something else.
func (p *RateLimit) draw(ctx context.Context, s *caddymsa.Submission, wanted []want, peek bool) (drawn []token, full *want, err error) {
	if p.shared == nil {
		drawn, full = p.drawLocal(wanted, peek)
		return drawn, full, nil
	}
	changes := make([]counts.Change, len(wanted))
	for i, w := range wanted {
		changes[i] = counts.Change{Key: p.sharedKey(w.key), Add: w.cost.Microseconds(), Max: w.depth().Microseconds(), Look: peek}
	}
	found, err := p.shared.Count(ctx, s.Counter, changes...)
	switch {
	case err == nil:
		for i := range wanted {
			w := &wanted[i]
			if !found[i].Full {
				drawn = append(drawn, token{key: w.key, cost: w.cost})
				continue
			}
			w.wait = time.Duration(max(1, found[i].Level+w.cost.Microseconds()-w.depth().Microseconds())) * time.Microsecond
			full = longer(full, w)
		}
		if full != nil && !peek {
			p.giveBack(s.Counter, drawn)
		}
		return drawn, full, nil
	case ctx.Err() != nil: // nobody waits for it any more
		return nil, nil, err
	case p.shared.OnFailure == sharing.FailAccept:
		return nil, nil, nil
	case p.shared.OnFailure == sharing.FailTempfail:
		return nil, nil, err
	}
	drawn, full = p.drawLocal(wanted, peek)
	return drawn, full, nil
}

func (p *RateLimit) drawLocal(wanted []want, peek bool) (drawn []token, full *want) {
	for i := range wanted {
		w := &wanted[i]
		w.wait = p.local.take(w.key, w.rate, w.cost, p.now(), peek || full != nil)
		if w.wait > 0 {
			full = longer(full, w)
		} else if full == nil {
			drawn = append(drawn, token{key: w.key, cost: w.cost, local: true})
		}
	}
	if full != nil && !peek {
		p.giveBack(nil, drawn)
	}
	return drawn, full
}

// longer is the one to wait for; a may be nil.
func longer(a, b *want) *want {
	if a != nil && a.wait >= b.wait {
		return a
	}
	return b
}

// giveBack puts tokens back where they came from. If nobody answers there, they come back by themselves with time.
func (p *RateLimit) giveBack(counter counts.Counter, all []token) {
	var changes []counts.Change
	for _, t := range all {
		if t.local {
			p.local.giveBack(t.key, t.cost, p.now())
		} else {
			changes = append(changes, counts.Change{Key: p.sharedKey(t.key), Add: -t.cost.Microseconds()})
		}
	}
	if len(changes) > 0 {
		_ = p.shared.Return(counter, changes...)
	}
}

func (p *RateLimit) sharedKey(key string) string { return p.id() + "\x00" + key }
