package dnscheck

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"
	"github.com/miekg/dns"
)

// SPF results (RFC 7208 section 2.6).
const (
	SPFPass = string(spf.Pass)
	SPFNone = string(spf.None)
	SPFFail = string(spf.Fail)
	SPFSoft = string(spf.SoftFail)

	SPFTempError = string(spf.TempError)
)

// SPF evaluates a domain's policy for mail that comes from an address (RFC 7208): pass, fail, softfail, neutral, none, temperror or
// permerror. The error says why.
func (r *Resolver) SPF(ctx context.Context, domain string, from netip.Addr) (result string, err error) {
	got, err := spf.CheckHostWithSender(net.IP(from.AsSlice()), domain, "postmaster@"+domain, spf.WithContext(ctx), spf.WithResolver(spfResolver{r}))
	return string(got), err
}

// SPFRecord returns a domain's policies, of which there must be no more than one (RFC 7208 section 3.2).
func (r *Resolver) SPFRecord(ctx context.Context, domain string) (all []string, err error) {
	texts, err := r.TXT(ctx, domain)
	for _, t := range texts {
		if t == "v=spf1" || strings.HasPrefix(strings.ToLower(t), "v=spf1 ") {
			all = append(all, t)
		}
	}
	return all, err
}

// spfResolver answers as net.Resolver does.
type spfResolver struct{ r *Resolver }

// asNet is an error as net.Resolver's callers know it.
func asNet(name string, err error) error {
	if err == nil {
		return nil
	}
	missing := errors.Is(err, ErrNotFound)
	return &net.DNSError{Err: err.Error(), Name: name, IsNotFound: missing, IsTemporary: !missing}
}

func (s spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, err := s.r.TXT(ctx, name)
	return texts, asNet(name, err)
}

func (s spfResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	found, err := s.r.MX(ctx, name)
	all := make([]*net.MX, len(found))
	for i, mx := range found {
		all[i] = &net.MX{Host: mx.Mx, Pref: mx.Preference}
	}
	return all, asNet(name, err)
}

func (s spfResolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	found, err := s.r.Addresses(ctx, host)
	all := make([]net.IPAddr, len(found))
	for i, a := range found {
		all[i] = net.IPAddr{IP: a.AsSlice()}
	}
	return all, asNet(host, err)
}

func (s spfResolver) LookupAddr(ctx context.Context, address string) ([]string, error) {
	name, err := dns.ReverseAddr(address)
	if err != nil {
		return nil, err
	}
	found, err := records[*dns.PTR](ctx, s.r, name, dns.TypePTR)
	all := make([]string, len(found))
	for i, p := range found {
		all[i] = p.Ptr
	}
	return all, asNet(address, err)
}
