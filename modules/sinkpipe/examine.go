package sinkpipe

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: the program is still there. It is not run.
func (s *Pipe) Examine(_ context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("routes", x.Subject)
	if err := s.program.Check(); err != nil {
		n.Wrong("put the program back, and let the user that Caddy runs as execute it", "messages wait: %v", err)
	} else {
		n.OK("the program %s is there", s.program.Path())
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*Pipe)(nil)
