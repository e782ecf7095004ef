package records

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

const (
	// reachTime is for how long an address is given to greet, and mostAddresses how many of a name are tried.
	reachTime     = 3 * time.Second
	mostAddresses = 8
)

// host looks whether clients find the server by its name, at each address that it has.
func (z *Zone) host(ctx context.Context) []doctor.Finding {
	if z.Hostname == "localhost" || strings.HasSuffix(z.Hostname, ".localhost") { // which DNS has nothing to do with (RFC 6761)
		return nil
	}
	n := doctor.About("dns", z.Hostname)
	all, err := z.Resolver.Addresses(ctx, z.Hostname)
	switch {
	case errors.Is(err, dnscheck.ErrNotFound):
		n.Wrong("publish its address: "+z.Hostname+". A <address>, or call the server by a name that has one", "clients do not find the server: the name has no address")
		return n.Findings
	case err != nil:
		unanswered(n, err)
		return n.Findings
	}
	if len(z.Ports) > 0 && !z.Behind {
		for _, ip := range all[:min(len(all), mostAddresses)] {
			z.leads(ctx, n, ip)
		}
	}
	if n.Clean() {
		n.OK("the name has the addresses %v", all)
	}
	return n.Findings
}

// leads looks whether an address of the name is the server's. From here that is not always to be seen.
func (z *Zone) leads(ctx context.Context, n *doctor.Notes, ip netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	p := z.Ports[max(0, slices.IndexFunc(z.Ports, func(p Port) bool { return !p.Implicit }))] // which greets in clear
	kind := "A"
	if ip.Is6() {
		kind = "AAAA"
	}
	address := netip.AddrPortFrom(ip, p.Number).String()
	greeting, err := z.greeting(ctx, address, p.Implicit)
	switch {
	case err != nil:
		n.Warn(fmt.Sprintf("look from where clients are: caddy msa doctor --remote %s:%d; if they do not get through either, open the port, listen on the address, or take the %s record away: clients wait for it before they try another", z.Hostname, p.Number, kind),
			"%s, which the name leads to, cannot be reached from here (behind NAT that is usual): %v", address, err)
	case !p.Implicit && !greets(greeting, z.Hostname):
		n.Wrong(fmt.Sprintf("correct the record: %s. %s <address>, or what forwards the port", z.Hostname, kind), "the name leads to another server, %s, which says: %.100q", address, greeting)
	}
}

// greeting is the first line that an address says. A port with TLS from the first octet says nothing before it.
func (z *Zone) greeting(ctx context.Context, address string, implicit bool) (string, error) {
	conn, err := z.Dial(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if implicit {
		return "", nil
	}
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until)
	}
	line, err := bufio.NewReaderSize(conn, 1<<10).ReadSlice('\n')
	if err != nil && len(line) == 0 {
		return "", err
	}
	_, _ = conn.Write([]byte("QUIT\r\n"))
	return strings.TrimSpace(string(line)), nil
}

func greets(line, hostname string) bool {
	f := strings.Fields(line)
	return len(f) > 1 && f[0] == "220" && strings.EqualFold(f[1], hostname)
}

// reverse looks whether an address that mail leaves from straight to others' servers has a name, and the name the address:
// many refuse mail from there otherwise.
func (z *Zone) reverse(ctx context.Context, ip netip.Addr) []doctor.Finding {
	n := doctor.About("ptr", ip.String())
	name, err := dns.ReverseAddr(ip.String())
	if err != nil {
		return nil
	}
	const ask = "have whoever gives you the address (the hosting provider) set its PTR record to "
	records, err := z.Resolver.Records(ctx, name, dns.TypePTR)
	switch {
	case errors.Is(err, dnscheck.ErrNotFound):
		n.Warn(ask+z.Hostname, "many servers refuse mail from it: it has no name (no PTR record)")
		return n.Findings
	case err != nil:
		unanswered(n, err)
		return n.Findings
	}
	var names []string
	for _, rr := range records {
		ptr, ok := rr.(*dns.PTR)
		if !ok {
			continue
		}
		host := strings.TrimSuffix(ptr.Ptr, ".")
		names = append(names, host)
		if all, err := z.Resolver.Addresses(ctx, host); err == nil {
			for _, a := range all {
				if a == ip {
					n.OK("its name is %s, which has the address", host)
					return n.Findings
				}
			}
		}
	}
	n.Warn(ask+z.Hostname+", which must have the address in turn", "many servers refuse mail from it: its name %s does not have the address", strconv.Quote(strings.Join(names, ", ")))
	return n.Findings
}

func dialer(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}
