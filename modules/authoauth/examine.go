package authoauth

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: the issuer answers. No token is tried.
func (o *OAuth) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("backends", x.Subject)
	if o.Issuer == "" {
		n.Skip("try a token: MSA_TOKEN=... caddy msa auth test", "it cannot be asked without a token")
		return n.Findings
	}
	if _, err := o.discovery.get(ctx); err != nil {
		n.Wrong("start the provider, or correct issuer (and ca): until then clients with tokens get 454 4.7.0", "the issuer %s cannot be reached: %v", o.Issuer, err)
		return n.Findings
	}
	n.OK("the issuer %s answers", o.Issuer)
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*OAuth)(nil)
