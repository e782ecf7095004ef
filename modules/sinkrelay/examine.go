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

// Direct tells whether messages go straight to the servers of recipients' domains.
func (r *Relay) Direct() bool { return r.mx != nil }

// mostDomains is how many domains are tried.
const mostDomains = 3

// examineMX asks for the exchangers of the server's own domain, and connects to those of the domains that clients send as, as
// for a message from one of their users to another: which others there are, only messages say.
func (r *Relay) examineMX(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("routes", x.Subject)
	asking, cancel := context.WithTimeout(ctx, r.options.Connect)
	defer cancel()
	if _, err := r.mx.lookupMX(asking, x.Hostname+"."); err != nil && !isNotFound(err) {
		n.Wrong("see /etc/resolv.conf, or name a server that answers with resolver, in the route's block", "DNS does not answer, so that messages wait: %v", err)
		return n.Findings
	}
	n.OK("DNS answers; the mail exchangers of recipients' domains are looked up when there are messages")
	if len(x.Domains) == 0 {
		n.Skip("name a domain whose mail exchanger can be tried, with --domain", "whether exchangers can be reached (many networks let nobody out on port %s) is not looked at: no domain is known", r.mx.port)
	}
	for _, domain := range x.Domains[:min(len(x.Domains), mostDomains)] {
		exchangers, err := r.mx.of(ctx, domain)
		if err != nil {
			n.Warn("publish an MX record, if the domain takes mail: bounces and answers go there", "the mail exchangers of %s are not to be had: %v", domain, err)
			continue
		}
		n.Findings = append(n.Findings, hops.Look(ctx, exchangers[0], x.Subject+": exchanger of "+domain, x.Hostname, 0)...)
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*Relay)(nil)
