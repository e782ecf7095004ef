package records

import (
	"context"
	"errors"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// spf looks whether the domain allows the addresses that mail leaves from.
func (z *Zone) spf(ctx context.Context, domain string) []doctor.Finding {
	n := doctor.About("spf", domain)
	all, err := z.Resolver.SPFRecord(ctx, domain)
	publish := "publish the addresses that mail leaves from, or the smarthost's policy: " + domain + `. TXT "v=spf1 a:` + z.Hostname + ` -all"`
	switch {
	case err != nil && !errors.Is(err, dnscheck.ErrNotFound):
		unanswered(n, err)
		return n.Findings
	case len(all) == 0:
		n.Warn(publish, "receivers do not know whose mail of the domain is: there is no SPF record")
		return n.Findings
	case len(all) > 1:
		n.Wrong("join them in one", "receivers take the domain to have no SPF policy: there are %d records (RFC 7208 section 3.2)", len(all))
		return n.Findings
	case len(z.Egress) == 0:
		n.Skip("name the addresses that mail leaves from, as others see them, with --egress", "which addresses it is to allow is not known")
		return n.Findings
	}
	for _, ip := range z.Egress {
		switch result, err := z.Resolver.SPF(ctx, domain, ip); result {
		case dnscheck.SPFPass:
			n.OK("it allows %s", ip)
		case dnscheck.SPFFail:
			n.Wrong("add ip4:"+ip.String()+" (or ip6:) to the record, if mail leaves from there", "receivers refuse mail of the domain from %s: %q", ip, all[0])
		case "permerror":
			n.Wrong("correct the record", "receivers cannot evaluate it: %v: %q", err, all[0])
		case "temperror":
			unanswered(n, err)
		default:
			n.Warn("add ip4:"+ip.String()+" (or ip6:) to the record, if mail leaves from there", "it does not allow %s (%s): %q", ip, result, all[0])
		}
	}
	return n.Findings
}
