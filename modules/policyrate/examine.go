package policyrate

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: Redis answers, if counts are there.
func (p *RateLimit) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	return p.shared.Examine(ctx, "policies", x.Subject)
}

// Interface guard
var _ caddymsa.Examiner = (*RateLimit)(nil)
