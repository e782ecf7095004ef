// Package records compares what DNS says of a server and of the domains that its clients send as with what is so.
package records

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Zone is what is so.
type Zone struct {
	Resolver *dnscheck.Resolver
	Hostname string   // of the server
	Ports    []Port   // that clients reach
	Domains  []string // that clients send as
	Keys     []Key    // that sign
	Egress   []netip.Addr
	// Direct: mail leaves straight for the servers of recipients' domains.
	Direct bool
	// Behind: a balancer is in front, to which addresses lead.
	Behind bool
	// Dial reaches the addresses of the name. Default: from here.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Web fetches MTA-STS policies. Default: one that asks the Resolver.
	Web *http.Client
}

// Port is a TCP port of the server.
type Port struct {
	Number   uint16
	Implicit bool // TLS from the first octet
}

// Key is a DKIM key's record, as it should be.
type Key struct{ Domain, Selector, Text string }

// webTimeout bounds the fetching of a policy.
const webTimeout = 10 * time.Second

// Checks of the zone, in the order in which they are worth reading.
func (z *Zone) Checks() []doctor.Check {
	if z.Web == nil {
		z.Web = &http.Client{Timeout: webTimeout, Transport: &http.Transport{DialContext: z.dial, DisableKeepAlives: true}}
	}
	if z.Dial == nil {
		z.Dial = dialer
	}
	checks := []doctor.Check{doctor.Func(z.host)}
	if z.Direct {
		for _, ip := range z.Egress {
			checks = append(checks, doctor.Func(func(ctx context.Context) []doctor.Finding { return z.reverse(ctx, ip) }))
		}
	}
	for _, k := range z.Keys {
		checks = append(checks, doctor.Func(func(ctx context.Context) []doctor.Finding { return z.key(ctx, k) }))
	}
	for _, d := range z.Domains {
		for _, check := range []func(context.Context, string) []doctor.Finding{z.services, z.spf, z.mtaSTS} {
			checks = append(checks, doctor.Func(func(ctx context.Context) []doctor.Finding { return check(ctx, d) }))
		}
	}
	if len(z.Domains) == 0 {
		n := doctor.About("dns", z.Hostname)
		n.Skip("name the domains that clients send as with --domain", "SRV, SPF and MTA-STS are not looked at: no domain is known")
		checks = append(checks, doctor.Func(func(context.Context) []doctor.Finding { return n.Findings }))
	}
	return checks
}

// dial finds hosts by the zone's resolver.
func (z *Zone) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	all, err := z.Resolver.Addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, ip := range all {
		conn, err := new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(ip.String(), port))
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

// unanswered notes that DNS did not say.
func unanswered(n *doctor.Notes, err error) {
	n.Warn("try again, or ask another name server with --resolver; see that the domain's name servers answer, and that this machine reaches one (/etc/resolv.conf)", "it cannot be looked at: %v", err)
}
