package sinkdirectory

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/machine"
)

// Examine implements caddymsa.Examiner: the directory can be written to.
func (s *Directory) Examine(_ context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("routes", x.Subject)
	machine.Writable(n, s.path)
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*Directory)(nil)
