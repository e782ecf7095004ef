package policyhttp

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: the service can be connected to, TLS included. It is asked nothing.
func (p *HTTP) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("policies", x.Subject)
	if err := p.client.Reach(ctx); err != nil {
		n.Wrong("start the web service, or correct its url (and ca); until then on_failure decides", "the web service cannot be reached: %v", err)
	} else {
		n.OK("the web service %s can be reached", p.client.Name())
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*HTTP)(nil)
