package policyrecipients

import (
	"context"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
)

// keepDay is how long a day is kept where nodes share it: it lasts 25 hours at most, and a message may take some more.
const keepDay = 48 * time.Hour

// take counts one more recipient of the day, if that is within the limit. While nobody answers where nodes share the count, this node
// goes on alone from what it knows of it, unless the operator wants something else.
func (p *Recipients) take(ctx context.Context, counter counts.Counter, res *reserved, user string, most int64) (taken bool, err error) {
	if p.shared != nil {
		found, err := p.shared.Count(ctx, counter, p.change(res.day, user, 1, most))
		switch {
		case err == nil:
			p.days.note(res.day, user, int(found[0].Level))
			if !found[0].Full {
				res.shared++
			}
			return !found[0].Full, nil
		case ctx.Err() != nil: // nobody waits for it any more
			return false, err
		case p.shared.OnFailure == sharing.FailAccept:
			return true, nil
		case p.shared.OnFailure == sharing.FailTempfail:
			return false, err
		}
	}
	if !p.days.take(res.day, user, most) {
		return false, nil
	}
	res.local++
	return true, nil
}

// giveBack gives back n recipients, first of those that this node has counted alone.
func (p *Recipients) giveBack(counter counts.Counter, res *reserved, user string, n int) {
	if local := min(n, res.local); local > 0 {
		p.days.giveBack(res.day, user, local)
		n -= local
	}
	if n = min(n, res.shared); n > 0 {
		_ = p.shared.Return(counter, p.change(res.day, user, -n, 0))
	}
}

func (p *Recipients) change(day, user string, n int, most int64) counts.Change {
	return counts.Change{Key: strings.Join([]string{p.key(), day, user}, "\x00"), Add: int64(n), Max: most, Keep: keepDay}
}
