package policyrate

import (
	"context"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

// Quotas implements caddymsa.QuotaPolicy.
func (p *RateLimit) Quotas(ctx context.Context, s *caddymsa.Submission) (all []counts.Quota) {
	for i := range p.levels {
		l := &p.levels[i]
		for _, resource := range []string{messages, recipients, octets} {
			if l.limits[resource] != nil {
				all = append(all, p.quota(ctx, s, l, resource))
			}
		}
	}
	for _, resource := range []string{recipients, octets} {
		if a := p.perMessage[resource]; a != nil {
			all = append(all, a.Quota(resource, s.Identity.User, s.Identity.Attributes))
		}
	}
	return all
}

func (p *RateLimit) quota(ctx context.Context, s *caddymsa.Submission, l *level, resource string) counts.Quota {
	q := l.limits[resource].Quota(resource, s.Identity.User, s.Identity.Attributes)
	q.Per = short(l.window)
	r, limited, err := l.rate(resource, s, p.Burst)
	if err != nil || !limited || r.limit == 0 {
		return q
	}
	owner, known := p.quotaOwner(s, &q)
	if !known {
		q.Problem = "it depends on the message whose count it is"
		return q
	}
	used, err := p.used(ctx, s, l.prefix+resource+"\x00"+owner, r)
	if err != nil {
		q.Problem = err.Error()
		return q
	}
	q.Left = max(0, int64(float64(r.burst)*(1-float64(used)/float64(r.depth()))+1e-6))
	if used > 0 {
		q.Back = p.now().Add(used)
	}
	return q
}

// quotaOwner is whose bucket it is, as far as that is known before there is a message.
func (p *RateLimit) quotaOwner(s *caddymsa.Submission, q *counts.Quota) (owner string, known bool) {
	switch {
	case p.By == byUser:
	case p.By == bySenderDomain || p.By == byRecipientDomain || p.By == byNetwork && !s.RemoteIP.IsValid():
		q.By = p.By
		return "", false
	case p.attribute != "":
		if value := s.Identity.Attributes[p.attribute]; value != "" {
			q.By = p.attribute + " " + value
		}
	default:
		q.By = p.By
	}
	return p.owner(s, nil), true
}

// used is how long it takes until a bucket is full.
func (p *RateLimit) used(ctx context.Context, s *caddymsa.Submission, key string, r rate) (time.Duration, error) {
	if p.shared == nil {
		return p.local.used(key, r, p.now()), nil
	}
	found, err := p.shared.Count(ctx, s.Counter, counts.Change{Key: p.sharedKey(key), Max: r.depth().Microseconds(), Look: true})
	if err != nil {
		return 0, err
	}
	return time.Duration(found[0].Level) * time.Microsecond, nil
}

// used is how long it takes until the bucket is full.
func (t *table) used(key string, r rate, now time.Time) time.Duration {
	s := t.shard(key)
	s.Lock()
	defer s.Unlock()
	return max(0, time.Duration(s.fullAt(key, r, now.UnixNano())-now.UnixNano()))
}

// Interface guard
var _ caddymsa.QuotaPolicy = (*RateLimit)(nil)
