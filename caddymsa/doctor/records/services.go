package records

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// services looks at the SRV records by which clients find the server (RFC 6186, RFC 8314 section 5.1).
func (z *Zone) services(ctx context.Context, domain string) (found []doctor.Finding) {
	for _, s := range []struct {
		label    string
		implicit bool
	}{{"_submissions._tcp.", true}, {"_submission._tcp.", false}} {
		found = append(found, z.service(ctx, s.label+domain, s.implicit)...)
	}
	return found
}

func (z *Zone) service(ctx context.Context, name string, implicit bool) []doctor.Finding {
	n := doctor.About("srv", name)
	ports := z.numbers(implicit)
	publish := "publish: " + name + ". SRV 0 1 0 ."
	if len(ports) > 0 {
		publish = fmt.Sprintf("publish: %s. SRV 0 1 %d %s.", name, ports[0], z.Hostname)
	}
	all, err := z.Resolver.SRV(ctx, name)
	switch {
	case errors.Is(err, dnscheck.ErrNotFound) && len(ports) == 0:
		return nil // as it should be
	case errors.Is(err, dnscheck.ErrNotFound):
		n.Warn(publish, "mail programs do not find the server by themselves: there is no such record")
		return n.Findings
	case err != nil:
		unanswered(n, err)
		return n.Findings
	}
	if !slices.ContainsFunc(all, func(r *dns.SRV) bool { return z.leadsHere(r, ports) }) {
		for _, r := range all {
			if len(ports) > 0 && z.published(ctx, r, implicit) {
				n.OK("mail programs find the server, by port %d, which is not one that it listens on itself", r.Port)
				return n.Findings
			}
		}
		r := all[0]
		n.Wrong(publish, "mail programs are led elsewhere: to %s, port %d", strings.TrimSuffix(r.Target, "."), r.Port)
		return n.Findings
	}
	n.OK("mail programs find the server")
	return n.Findings
}

// published tells whether a port that the server does not listen on leads to it all the same: that of a container, or a balancer.
func (z *Zone) published(ctx context.Context, r *dns.SRV, implicit bool) bool {
	if !strings.EqualFold(strings.TrimSuffix(r.Target, "."), z.Hostname) {
		return false
	}
	all, _ := z.Resolver.Addresses(ctx, z.Hostname)
	return slices.ContainsFunc(all[:min(len(all), mostAddresses)], func(ip netip.Addr) bool {
		ctx, cancel := context.WithTimeout(ctx, reachTime)
		defer cancel()
		greeting, err := z.greeting(ctx, netip.AddrPortFrom(ip, r.Port).String(), implicit)
		return err == nil && (implicit || greets(greeting, z.Hostname))
	})
}

func (z *Zone) numbers(implicit bool) (ports []uint16) {
	for _, p := range z.Ports {
		if p.Implicit == implicit {
			ports = append(ports, p.Number)
		}
	}
	return ports
}

// leadsHere tells whether a record is right: that there is no service, if it has no port.
func (z *Zone) leadsHere(r *dns.SRV, ports []uint16) bool {
	if r.Target == "." {
		return len(ports) == 0
	}
	return strings.EqualFold(strings.TrimSuffix(r.Target, "."), z.Hostname) && slices.Contains(ports, r.Port)
}
