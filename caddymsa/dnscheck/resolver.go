// Package dnscheck looks up what DNS says of a mail domain, to compare it with what it should say.
package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// ErrNotFound says that there is no such name, or no record of the type.
var ErrNotFound = errors.New("there is no such record")

// Resolver asks recursive name servers, one after the other until one answers.
type Resolver struct {
	servers []string // host:port
	timeout time.Duration
	first   atomic.Int32 // of the servers, to be asked: the one that answered last
}

const (
	// questionTimeout is for one server, as libc has it.
	questionTimeout = 5 * time.Second
	// maxAliases is how many CNAMEs are followed.
	maxAliases = 8
	// resolvConf is where systems say whom to ask.
	resolvConf = "/etc/resolv.conf"
)

// New returns a resolver that asks the server (host:port, or a host with port 53), or the system's if it is empty.
func New(server string) (*Resolver, error) {
	r := &Resolver{timeout: questionTimeout}
	if server != "" {
		if _, _, err := net.SplitHostPort(server); err != nil {
			server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
		}
		r.servers = []string{server}
		return r, nil
	}
	system, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("which name servers this system asks is not known (%w); name one", err)
	}
	for _, s := range system.Servers {
		r.servers = append(r.servers, net.JoinHostPort(s, system.Port))
	}
	if len(r.servers) == 0 {
		r.servers = []string{"127.0.0.1:53"} // as libc does
	}
	return r, nil
}

// Records returns the records of a type, with the name's aliases followed. It gives ErrNotFound if there are none; any other
// error means that DNS did not say.
func (r *Resolver) Records(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	name = dns.CanonicalName(name)
	if _, ok := dns.IsDomainName(name); !ok {
		return nil, fmt.Errorf("%q is not a domain name", name)
	}
	for range maxAliases {
		answer, err := r.ask(ctx, name, kind)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", dns.TypeToString[kind], strings.TrimSuffix(name, "."), err)
		}
		found, alias := within(answer, name, kind)
		switch {
		case len(found) > 0:
			return found, nil
		case alias == "":
			return nil, fmt.Errorf("%s of %s: %w", dns.TypeToString[kind], strings.TrimSuffix(name, "."), ErrNotFound)
		}
		name = alias // of which the server did not say more
	}
	return nil, fmt.Errorf("%s of %s: too many aliases", dns.TypeToString[kind], strings.TrimSuffix(name, "."))
}

// within picks the records of a type from an answer, and else where the name's aliases lead to.
func within(answer []dns.RR, name string, kind uint16) (found []dns.RR, alias string) {
	for range maxAliases {
		next := ""
		for _, rr := range answer {
			if dns.CanonicalName(rr.Header().Name) != name {
				continue
			}
			if rr.Header().Rrtype == kind {
				found = append(found, rr)
			}
			if c, ok := rr.(*dns.CNAME); ok {
				next = dns.CanonicalName(c.Target)
			}
		}
		if len(found) > 0 || next == "" {
			return found, alias
		}
		name, alias = next, next
	}
	return nil, alias
}

// ask returns the answer section. No such name is an empty one.
func (r *Resolver) ask(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	question := new(dns.Msg)
	question.SetQuestion(name, kind)
	question.SetEdns0(1232, false)
	var failures []error
	first := int(r.first.Load())
	for i := range r.servers {
		at := (first + i) % len(r.servers)
		server := r.servers[at]
		answer, err := r.exchange(ctx, question, server)
		switch {
		case err != nil:
		case answer.Rcode == dns.RcodeSuccess, answer.Rcode == dns.RcodeNameError:
			r.first.Store(int32(at)) //nolint:gosec // a few
			return answer.Answer, nil
		default:
			err = fmt.Errorf("name server %s answers %s", server, dns.RcodeToString[answer.Rcode])
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

// exchange asks by UDP, and by TCP for what does not fit.
func (r *Resolver) exchange(ctx context.Context, question *dns.Msg, server string) (answer *dns.Msg, err error) {
	for _, network := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: network, Timeout: r.timeout}
		if answer, _, err = client.ExchangeContext(ctx, question, server); err != nil {
			return nil, fmt.Errorf("name server %s does not answer: %w", server, err)
		}
		if !answer.Truncated {
			break
		}
	}
	return answer, nil
}

// TXT returns the texts of a name, each with its strings joined.
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, error) {
	records, err := r.Records(ctx, name, dns.TypeTXT)
	texts := make([]string, len(records))
	for i, rr := range records {
		texts[i] = strings.Join(rr.(*dns.TXT).Txt, "")
	}
	return texts, err
}

// MX returns the mail exchangers of a domain, the most preferred first.
func (r *Resolver) MX(ctx context.Context, domain string) ([]*dns.MX, error) {
	all, err := records[*dns.MX](ctx, r, domain, dns.TypeMX)
	slices.SortStableFunc(all, func(a, b *dns.MX) int { return int(a.Preference) - int(b.Preference) })
	return all, err
}

// SRV returns the targets of a service, the most preferred first: name is as in _submissions._tcp.example.org.
func (r *Resolver) SRV(ctx context.Context, name string) ([]*dns.SRV, error) {
	all, err := records[*dns.SRV](ctx, r, name, dns.TypeSRV)
	slices.SortStableFunc(all, func(a, b *dns.SRV) int { return int(a.Priority) - int(b.Priority) })
	return all, err
}

// TLSA returns what a port's certificate is to be: name is as in _25._tcp.mx.example.org.
func (r *Resolver) TLSA(ctx context.Context, name string) ([]*dns.TLSA, error) {
	return records[*dns.TLSA](ctx, r, name, dns.TypeTLSA)
}

func records[T dns.RR](ctx context.Context, r *Resolver, name string, kind uint16) ([]T, error) {
	found, err := r.Records(ctx, name, kind)
	all := make([]T, len(found))
	for i, rr := range found {
		all[i] = rr.(T)
	}
	return all, err
}

// Addresses returns the IP addresses of a host.
func (r *Resolver) Addresses(ctx context.Context, host string) (all []netip.Addr, err error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		found, failed := r.Records(ctx, host, kind)
		if failed != nil && !errors.Is(failed, ErrNotFound) && len(all) == 0 {
			return nil, failed // who does not answer one question does not answer the other
		}
		if failed != nil {
			err = failed
		}
		for _, rr := range found {
			switch rr := rr.(type) {
			case *dns.A:
				all = appendIP(all, rr.A)
			case *dns.AAAA:
				all = appendIP(all, rr.AAAA)
			}
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, err
}

func appendIP(all []netip.Addr, ip net.IP) []netip.Addr {
	if a, ok := netip.AddrFromSlice(ip); ok {
		return append(all, a.Unmap())
	}
	return all
}
