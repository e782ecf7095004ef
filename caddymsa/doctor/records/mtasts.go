package records

import (
	"context"
	"errors"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// mtaSTS looks at the policy by which others protect mail to the domain, bounces and answers (RFC 8461).
func (z *Zone) mtaSTS(ctx context.Context, domain string) []doctor.Finding {
	n := doctor.About("mta-sts", domain)
	p, err := z.Resolver.MTASTS(ctx, domain, z.Web)
	switch {
	case errors.Is(err, dnscheck.ErrNotFound):
		n.Skip("publish one if the domain takes mail: a TXT record of _mta-sts."+domain+" and a page at mta-sts."+domain, "there is no policy: others may send to the domain without TLS")
		return n.Findings
	case err != nil:
		n.Wrong("correct the record, or the page, or take the record away: senders who keep an older policy go by that", "the policy cannot be had: %v", err)
		return n.Findings
	}
	all, err := z.Resolver.MX(ctx, domain)
	if err != nil && !errors.Is(err, dnscheck.ErrNotFound) {
		unanswered(n, err)
		return n.Findings
	}
	for _, mx := range all {
		host := strings.TrimSuffix(mx.Mx, ".")
		switch {
		case p.Mode == "none" || p.Covers(host):
		case p.Mode == "enforce":
			n.Wrong("add mx: "+host+" to the policy, with a new id in the record", "senders do not deliver to %s, which is an MX of the domain and not in the policy", host)
		default:
			n.Warn("add mx: "+host+" to the policy, with a new id in the record", "%s is an MX of the domain and not in the policy, which is only tested yet", host)
		}
	}
	if n.Clean() {
		n.OK("the policy is in order (%s)", p.Mode)
	}
	return n.Findings
}
