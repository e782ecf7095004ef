package sinks3

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: the bucket is there, and the account may see it. Nothing is stored.
func (s *S3) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("routes", x.Subject)
	if err := s.Reach(ctx); err != nil {
		n.Wrong("start the store, make the bucket, or correct endpoint and account in the route", "messages wait: %v", err)
	} else {
		n.OK("the bucket %s is there", s.Name)
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*S3)(nil)
