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

// draw takes a token from its bucket, or says how long to wait. With peek it takes nothing. While nobody answers where nodes share
// them, this node's own buckets count, unless the operator wants something else.
func (p *RateLimit) draw(ctx context.Context, s *caddymsa.Submission, key string, cost, depth time.Duration, peek bool) (t token, wait time.Duration, err error) {
	t = token{key, cost, true}
	if p.shared == nil {
		return t, p.local.take(key, cost, depth, p.now(), peek), nil
	}
	found, err := p.shared.Count(ctx, s.Counter, counts.Change{Key: p.sharedKey(key), Add: cost.Microseconds(), Max: depth.Microseconds(), Look: peek})
	switch {
	case err == nil && found[0].Full:
		over := found[0].Level + cost.Microseconds() - depth.Microseconds()
		return t, time.Duration(max(1, over)) * time.Microsecond, nil
	case err == nil:
		t.local = false
		return t, 0, nil
	case p.shared.OnFailure == sharing.FailAccept:
		t.cost = 0
		return t, 0, nil
	case p.shared.OnFailure == sharing.FailTempfail:
		return t, 0, err
	}
	return t, p.local.take(key, cost, depth, p.now(), peek), nil
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
