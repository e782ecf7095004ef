package sinkrelay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// domainOf is the domain that a recipient's mail goes to, as A-labels, or an address literal.
func domainOf(r *queue.Recipient) string {
	a, err := mailaddr.Parse(r.Complete(), true)
	if err != nil {
		return ""
	}
	return a.ASCIIDomain()
}

// exchangers are the mail exchangers of domains (RFC 5321 section 5.1).
type exchangers struct {
	options  *nexthop.Options
	lookupMX func(ctx context.Context, domain string) ([]*net.MX, error)
	lookupIP func(ctx context.Context, host string) ([]netip.Addr, error)
	port     string

	mu     sync.Mutex
	hops   map[string]*nexthop.Hop // by address
	closed bool
}

func newExchangers(o *nexthop.Options, resolver string) (*exchangers, error) {
	r := net.DefaultResolver
	if resolver != "" {
		_, address, err := splitHost(resolver, "53")
		if err != nil {
			return nil, fmt.Errorf("resolver: %w", err)
		}
		r = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
	}
	return &exchangers{
		options: o, port: "25", hops: make(map[string]*nexthop.Hop), lookupMX: r.LookupMX,
		lookupIP: func(ctx context.Context, host string) ([]netip.Addr, error) { return r.LookupNetIP(ctx, "ip", host) },
	}, nil
}

// maxExchangers bounds the hosts, and their addresses, that are tried for one message.
const maxExchangers = 8

// maxNames bounds the names of hosts that are looked up for it, at once.
const maxNames = 32

// of returns the hosts of a domain in the order in which they are to be tried.
func (x *exchangers) of(ctx context.Context, domain string) ([]*nexthop.Hop, error) {
	if literal, ok := strings.CutPrefix(domain, "["); ok {
		literal = strings.TrimPrefix(strings.TrimSuffix(literal, "]"), "IPv6:")
		ip, err := netip.ParseAddr(literal)
		if err != nil {
			return nil, reply(550, 5, 1, 2, "Address literal is not known")
		}
		return []*nexthop.Hop{x.hop(literal, ip)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.options.Connect)
	defer cancel()
	all, err := x.lookupMX(ctx, domain+".")
	if isNotFound(err) {
		err, all = nil, []*net.MX{{Host: domain}} // the implicit one
	}
	if err != nil && len(all) == 0 { // with some, the malformed ones have been left out
		return nil, unknown(fmt.Errorf("look up MX of %s: %w", domain, err))
	}
	if len(all) == 1 && all[0].Host == "." {
		return nil, reply(556, 5, 1, 10, "Recipient's domain does not take mail") // RFC 7505
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	hops, failure := x.addresses(ctx, all[:min(len(all), maxNames)])
	switch {
	case len(hops) > 0:
		return hops, nil
	case isNotFound(failure):
		return nil, reply(550, 5, 1, 2, "Recipient's domain does not exist, or has no mail server")
	}
	return nil, unknown(fmt.Errorf("look up the mail servers of %s: %w", domain, failure))
}

// addresses are the hosts' in their order. All are asked for at once: a name server that is silent about one host is waited for
// by the others, but does not take their time. The error is the one of a host that has none.
func (x *exchangers) addresses(ctx context.Context, all []*net.MX) (hops []*nexthop.Hop, failure error) {
	ips, errs := make([][]netip.Addr, len(all)), make([]error, len(all))
	var wg sync.WaitGroup
	for i, mx := range all {
		wg.Go(func() { ips[i], errs[i] = x.lookupIP(ctx, strings.TrimSuffix(mx.Host, ".")+".") })
	}
	wg.Wait()
	share(ips, maxExchangers)
	for i, mx := range all {
		if errs[i] != nil && (failure == nil || isNotFound(failure)) {
			failure = errs[i] // one that may pass says that trying again may help
		}
		for _, ip := range ips[i] {
			hops = append(hops, x.hop(strings.TrimSuffix(mx.Host, "."), ip.Unmap()))
		}
	}
	return hops, failure
}

// share leaves out addresses of those hosts that have the most until there are n at most: no backup is left out because of a
// host with many.
func share(ips [][]netip.Addr, n int) {
	for {
		longest, total := 0, 0
		for i := range ips {
			if total += len(ips[i]); len(ips[i]) > len(ips[longest]) {
				longest = i
			}
		}
		if total <= n {
			return
		}
		ips[longest] = ips[longest][:len(ips[longest])-1]
	}
}

// unknown is what every message to the domain meets as long as DNS does not answer.
func unknown(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return queue.Unreachable(err)
}

// hop returns the one of an address, with its connections.
func (x *exchangers) hop(host string, ip netip.Addr) *nexthop.Hop {
	address := net.JoinHostPort(ip.String(), x.port)
	key := host + " " + address
	x.mu.Lock()
	defer x.mu.Unlock()
	if h := x.hops[key]; h != nil {
		return h
	}
	if len(x.hops) >= maxHops {
		for _, h := range x.hops {
			h.Close()
		}
		clear(x.hops)
	}
	h := nexthop.New("tcp", address, host, x.options)
	if x.closed {
		h.Close()
	}
	x.hops[key] = h
	return h
}

// maxHops is how many hosts are known at once, with their idle connections.
const maxHops = 10000

func (x *exchangers) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	for _, h := range x.hops {
		h.Close()
	}
}

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

func reply(code, class, subject, detail int, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail}, Message: text}
}
