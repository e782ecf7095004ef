package policymilter

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: the milter can be connected to. It is asked nothing.
func (p *Milter) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("policies", x.Subject)
	conn, err := p.dialer.dial(ctx)
	if err != nil {
		n.Wrong("start the milter, correct its address, or let the user that Caddy runs as use its socket; until then on_failure decides", "the milter cannot be reached: %v", err)
		return n.Findings
	}
	_ = conn.Close()
	n.OK("the milter at %s can be reached", p.dialer.address)
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*Milter)(nil)
