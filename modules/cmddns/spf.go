package cmddns

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
)

// sameSPF wants a policy that lets each address pass, and has each of the other terms.
func sameSPF(terms []string) compare {
	return func(ctx context.Context, r *dnscheck.Resolver, want dns.RR) (found []string, fits bool, err error) {
		domain := want.Header().Name
		found, err = r.SPFRecord(ctx, domain)
		if err == nil && len(found) == 0 {
			err = dnscheck.ErrNotFound
		}
		if err != nil || len(found) > 1 {
			return found, false, err
		}
		heeded := heededTerms(found[0])
		for _, term := range terms {
			ok := has(heeded, term)
			if ip, isIP := addressOf(term); isIP {
				result, _ := r.SPF(ctx, strings.TrimSuffix(domain, "."), ip)
				ok = result == dnscheck.SPFPass || ok && result == dnscheck.SPFTempError // because of a term that is somebody else's
			}
			if !ok {
				return append(found, "which does not let "+term+" pass"), false, nil
			}
		}
		return found, true, nil
	}
}

// heededTerms are those of a policy that let somebody pass, up to the one that is about all: what is behind it counts for nothing
// (RFC 7208 section 5.1).
func heededTerms(policy string) (terms []string) {
	for _, term := range strings.Fields(policy)[1:] {
		mechanism := strings.ToLower(strings.TrimPrefix(term, "+"))
		switch bare := strings.TrimLeft(mechanism, "-~?"); {
		case bare == "all":
			return terms
		case bare == mechanism:
			terms = append(terms, mechanism)
		}
	}
	return terms
}

// has tells whether a term, or one of a network that it is in, is among those.
func has(all []string, term string) bool {
	network, isNetwork := networkOf(term)
	return slices.ContainsFunc(all, func(have string) bool {
		wider, ok := networkOf(have)
		return have == strings.ToLower(term) || ok && isNetwork && wider.Bits() <= network.Bits() && wider.Contains(network.Addr())
	})
}

// networkOf is what a term ip4 or ip6 is about.
func networkOf(term string) (netip.Prefix, bool) {
	kind, text, _ := strings.Cut(term, ":")
	if kind != "ip4" && kind != "ip6" {
		return netip.Prefix{}, false
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return p, true
	}
	ip, err := netip.ParseAddr(text)
	return netip.PrefixFrom(ip, ip.BitLen()), err == nil
}

// addressOf is the address of a term that is one address.
func addressOf(term string) (netip.Addr, bool) {
	p, ok := networkOf(term)
	return p.Addr(), ok && p.IsSingleIP()
}
