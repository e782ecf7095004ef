package sinknats

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: the broker can be connected to. Nothing is published.
func (s *NATS) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("routes", x.Subject)
	if _, err := s.client.Connect(ctx); err != nil {
		n.Wrong("start NATS, or correct its urls and the account in the route", "messages wait: %v", err)
	} else {
		n.OK("%s can be reached", s.client.Name())
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*NATS)(nil)
