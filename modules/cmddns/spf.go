package cmddns

import (
	"context"
	"errors"
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
			} else if !ok {
				e := elsewhere{r: r, left: maxPolicies}
				ok = has(e.terms(ctx, found[0]), term)
				err = e.failed
			}
			switch {
			case !ok && err != nil: // it may be there
				return found, false, err
			case !ok:
				return append(found, "which does not let "+term+" pass"), false, nil
			}
		}
		return found, true, nil
	}
}

// maxPolicies is how many others a policy may lead to (RFC 7208 section 4.6.4).
const maxPolicies = 10

// elsewhere reads the policies that one includes, or leads to.
type elsewhere struct {
	r      *dnscheck.Resolver
	left   int
	failed error // of DNS, which did not say
}

// terms are those of a policy that let somebody pass, those elsewhere among them.
func (e *elsewhere) terms(ctx context.Context, policy string) []string {
	all := heededTerms(policy)
	others := []string{redirectOf(policy)}
	for _, term := range all {
		if name, ok := strings.CutPrefix(term, "include:"); ok {
			others = append(others, name)
		}
	}
	for _, name := range others {
		if name == "" || strings.Contains(name, "%") || e.left == 0 { // a macro has no one meaning
			continue
		}
		e.left--
		found, err := e.r.SPFRecord(ctx, name)
		switch {
		case err != nil && !errors.Is(err, dnscheck.ErrNotFound):
			e.failed = err
		case len(found) == 1:
			all = append(all, e.terms(ctx, found[0])...)
		}
	}
	return all
}

// redirectOf is the domain whose policy is in force where no term of this one matches: none where one is about all (RFC 7208
// section 6.1).
func redirectOf(policy string) (name string) {
	for _, term := range strings.Fields(strings.ToLower(policy)) {
		if strings.TrimLeft(term, "+-~?") == "all" {
			return ""
		}
		if to, ok := strings.CutPrefix(term, "redirect="); ok {
			name = to
		}
	}
	return name
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
