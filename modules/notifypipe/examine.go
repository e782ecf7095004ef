package notifypipe

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: the program is still there. It is not run.
func (p *Pipe) Examine(_ context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("notifiers", x.Subject)
	if err := p.program.Check(); err != nil {
		n.Wrong("put the program back, and let the user that Caddy runs as execute it", "events wait: %v", err)
	} else {
		n.OK("the program %s is there", p.program.Path())
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*Pipe)(nil)
