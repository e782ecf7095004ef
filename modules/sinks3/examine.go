package sinks3

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/objectstore"
)

// Examine implements caddymsa.Examiner: the bucket is there, and the store knows the account, which may see it or not. Nothing is stored.
func (s *S3) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("routes", x.Subject)
	switch err := s.Reach(ctx); {
	case objectstore.IsDenied(err): // the right to store is enough
		n.Skip("submit a message to a recipient of the route", "whether messages can be stored in the bucket %s is not known here, since the account may not list it", s.Name)
	case err != nil:
		n.Wrong("start the store, make the bucket, or correct endpoint and account in the route", "messages wait: %v", err)
	default:
		n.OK("the bucket %s is there", s.Name)
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*S3)(nil)
