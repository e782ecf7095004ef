package sinklmtp

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/hops"
)

// Examine implements caddymsa.Examiner.
func (s *LMTP) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	return hops.Look(ctx, s.hop, x.Subject, x.Hostname, x.MessageSize)
}

// Interface guard
var _ caddymsa.Examiner = (*LMTP)(nil)
