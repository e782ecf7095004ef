package sinkmaildir

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/machine"
)

// Examine implements caddymsa.Examiner: the directory that Maildirs are below can be written to.
func (m *Maildir) Examine(_ context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("routes", x.Subject)
	machine.Writable(n, m.base)
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*Maildir)(nil)
