package cmddns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// compare looks a record up. found is what DNS has in its place; there is none without an error. fits tells whether that
// does as well.
type compare func(ctx context.Context, r *dnscheck.Resolver, want dns.RR) (found []string, fits bool, err error)

// check prints what DNS has of each record.
func check(ctx context.Context, out io.Writer, resolver *dnscheck.Resolver, sections []section) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	all, wrong := 0, 0
	for _, s := range sections {
		for _, n := range s.notes {
			fmt.Fprintf(t, "note\t%s\n", terminal.Line(n))
		}
		for _, r := range s.records {
			all++
			found, fits, err := r.fits(ctx, resolver, r.RR)
			state := "ok"
			switch {
			case fits:
			case err == nil:
				state = "differs"
			case errors.Is(err, dnscheck.ErrNotFound):
				state = "missing"
			default:
				state = "unknown"
			}
			fmt.Fprintf(t, "%s\t%s\n", state, strings.ReplaceAll(r.String(), "\t", " "))
			if fits {
				continue
			}
			wrong++
			for _, f := range found {
				fmt.Fprintf(t, "\tDNS has %s\n", terminal.Line(f))
			}
			if state == "unknown" {
				fmt.Fprintf(t, "\t%s\n", terminal.Line(strings.ReplaceAll(err.Error(), "\n", "; "))) // several servers' are lines
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d records do not fit", wrong, all)
	}
	return nil
}

// sameService wants the port at the target, whatever its priority, perhaps beside others.
func sameService(ctx context.Context, r *dnscheck.Resolver, want dns.RR) (found []string, fits bool, err error) {
	w := want.(*dns.SRV)
	all, err := r.SRV(ctx, w.Hdr.Name)
	for _, have := range all {
		found = append(found, fmt.Sprintf("%d %d %d %s", have.Priority, have.Weight, have.Port, have.Target))
		fits = fits || have.Port == w.Port && strings.EqualFold(have.Target, w.Target)
	}
	return found, fits, err
}

// noService wants none, which an absent record says nearly as well.
func noService(ctx context.Context, r *dnscheck.Resolver, want dns.RR) (found []string, fits bool, err error) {
	found, fits, err = sameService(ctx, r, want)
	return found, fits && len(found) == 1 || errors.Is(err, dnscheck.ErrNotFound), err
}

// sameHost wants a name that leads where the target does, by whatever records, and nowhere else.
func sameHost(ctx context.Context, r *dnscheck.Resolver, want dns.RR) (found []string, fits bool, err error) {
	w := want.(*dns.CNAME)
	have, err := r.Addresses(ctx, w.Hdr.Name)
	if err != nil {
		return nil, false, err
	}
	target, err := r.Addresses(ctx, w.Target)
	if err != nil {
		return nil, false, fmt.Errorf("%v; the record leads there", err) // it is not this one that is missing
	}
	for _, ip := range have {
		found = append(found, ip.String())
	}
	elsewhere := slices.ContainsFunc(have, func(ip netip.Addr) bool { return !slices.Contains(target, ip) })
	return found, !elsewhere, nil
}

// sameKey wants the key, perhaps beside the one that comes next.
func sameKey(ctx context.Context, r *dnscheck.Resolver, want dns.RR) (found []string, fits bool, err error) {
	w := want.(*dns.TLSA)
	all, err := r.TLSA(ctx, w.Hdr.Name)
	for _, have := range all {
		found = append(found, fmt.Sprintf("%d %d %d %s", have.Usage, have.Selector, have.MatchingType, have.Certificate))
		fits = fits || have.Usage == w.Usage && have.Selector == w.Selector && have.MatchingType == w.MatchingType && strings.EqualFold(have.Certificate, w.Certificate)
	}
	return found, fits, err
}

// sameDKIM wants the key in the only record, however it is spelled.
func sameDKIM(ctx context.Context, r *dnscheck.Resolver, want dns.RR) (found []string, fits bool, err error) {
	found, err = r.TXT(ctx, want.Header().Name)
	wantKind, wantKey, _ := dnscheck.DKIMKey(strings.Join(want.(*dns.TXT).Txt, ""))
	for _, text := range found {
		kind, key, ok := dnscheck.DKIMKey(text)
		fits = ok && len(found) == 1 && kind == wantKind && key == wantKey
	}
	return found, fits, err
}

// samePolicy wants the id in the only record that is of a policy: others do not count (RFC 8461 section 3.1).
func samePolicy(ctx context.Context, r *dnscheck.Resolver, want dns.RR) (found []string, fits bool, err error) {
	found, err = r.TXT(ctx, want.Header().Name)
	plain := func(s string) string { return strings.TrimSuffix(strings.ReplaceAll(s, " ", ""), ";") }
	if policies := slices.DeleteFunc(slices.Clone(found), func(text string) bool { return !strings.HasPrefix(text, "v=STSv1;") }); len(policies) > 0 {
		found = policies
	}
	for _, text := range found {
		fits = len(found) == 1 && plain(text) == plain(strings.Join(want.(*dns.TXT).Txt, ""))
	}
	return found, fits, err
}
