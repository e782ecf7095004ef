package policyrecipients

import (
	"context"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

// Quotas implements caddymsa.QuotaPolicy.
func (p *Recipients) Quotas(ctx context.Context, s *caddymsa.Submission) (all []counts.Quota) {
	if p.perDay != nil {
		all = append(all, p.dayQuota(ctx, s))
	}
	if p.perMessage != nil {
		all = append(all, p.perMessage.Quota("recipients", s.Identity.User, s.Identity.Attributes))
	}
	return all
}

func (p *Recipients) dayQuota(ctx context.Context, s *caddymsa.Submission) counts.Quota {
	q := p.perDay.Quota("recipients", s.Identity.User, s.Identity.Attributes)
	q.Per = "day"
	if q.Unlimited || q.Problem != "" {
		return q
	}
	now := p.now().In(p.zone)
	day, user := now.Format(time.DateOnly), p.Case.Key(s.Identity.User)
	taken := int64(p.days.count(day, user))
	if p.shared != nil {
		change := p.change(day, user, 0, q.Allowed)
		change.Look = true
		found, err := p.shared.Count(ctx, s.Counter, change)
		if err != nil {
			q.Problem = err.Error()
			return q
		}
		taken = found[0].Level
	}
	if q.Left = max(0, q.Allowed-taken); taken > 0 {
		q.Back = time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, p.zone)
	}
	return q
}

// count is a user's of a day.
func (d *days) count(day, user string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.of(day)[user]
}

// Interface guard
var _ caddymsa.QuotaPolicy = (*Recipients)(nil)
