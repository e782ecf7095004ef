package sinkrelay

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/hops"
)

// Examine implements caddymsa.Examiner: all hosts, those that are asked only when others are down too.
func (r *Relay) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	if r.mx != nil {
		return r.examineMX(ctx, x)
	}
	var checks []doctor.Check
	for _, h := range r.hosts {
		checks = append(checks, doctor.Func(func(ctx context.Context) []doctor.Finding {
			return hops.Look(ctx, h, x.Subject, x.Hostname, x.MessageSize)
		}))
	}
	return doctor.Run(ctx, checks...)
}

// examineMX asks for the exchangers of the server's own domain: which others there are, only messages say.
func (r *Relay) examineMX(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("routes", x.Subject)
	ctx, cancel := context.WithTimeout(ctx, r.options.Connect)
	defer cancel()
	if _, err := r.mx.lookupMX(ctx, x.Hostname+"."); err != nil && !isNotFound(err) {
		n.Wrong("see /etc/resolv.conf, or name a server that answers with resolver, in the route's block", "DNS does not answer, so that messages wait: %v", err)
		return n.Findings
	}
	n.OK("DNS answers; the mail exchangers of recipients' domains are looked up when there are messages")
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*Relay)(nil)
