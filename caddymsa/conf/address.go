package conf

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Network reads a network such as 192.0.2.0/24, or an address, which is a network of one. IPv4 that is written as IPv6 is IPv4, as clients are.
func Network(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return p, fmt.Errorf("%q is neither an address nor a network such as 192.0.2.0/24", text)
		}
		p = netip.PrefixFrom(ip, ip.BitLen())
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// NoURL refuses a URL where an address is expected, such as smtp://smtp.example.net:587, and says what to write.
func NoURL(addresses ...string) error {
	for _, a := range addresses {
		scheme, rest, found := strings.Cut(a, "://")
		if !found {
			continue
		}
		if strings.Contains(rest, "@") {
			return fmt.Errorf("a URL with a password is written where an address is expected; write the address alone, as in %s", afterLogin(rest))
		}
		if rest = strings.TrimRight(rest, "/"); scheme == "unix" || strings.HasPrefix(rest, "/") {
			rest = "unix//" + strings.TrimLeft(rest, "/")
		}
		if rest == "" {
			return fmt.Errorf("%q is a URL; write the address alone, as in smtp.example.net:587", a)
		}
		return fmt.Errorf("%q is a URL; write the address alone: %s", a, rest)
	}
	return nil
}

func afterLogin(s string) string {
	return strings.TrimRight(s[strings.LastIndexByte(s, '@')+1:], "/")
}

// othersWords are how other programs write addresses of services: unix:/run/x, local:/run/x,
// inet:port@host, inet:host:port and tcp:host:port.
var othersWords = regexp.MustCompile(`^(?:unix|local):(/.*)$|^inet6?:([0-9]+)@(.+)$|^(?:inet6?|tcp):(.+:[0-9]+)$`)

// Socket reads the address of a service, host:port or unix//path; the error says what to write.
func Socket(text string) (caddy.NetworkAddress, error) {
	if err := NoURL(text); err != nil {
		return caddy.NetworkAddress{}, err
	}
	write := ""
	switch m := othersWords.FindStringSubmatch(text); {
	case strings.HasPrefix(text, "/"):
		write = "unix/" + text
	case m != nil && m[1] != "":
		write = "unix/" + m[1]
	case m != nil && m[2] != "":
		write = net.JoinHostPort(strings.Trim(m[3], "[]"), m[2])
	case m != nil:
		write = m[4]
	}
	if write != "" {
		return caddy.NetworkAddress{}, fmt.Errorf("address %q: write %s", text, write)
	}
	a, err := caddy.ParseNetworkAddress(text)
	if err != nil || !a.IsUnixNetwork() && (a.Network != "tcp" || a.PortRangeSize() != 1 || a.StartPort == 0 || strings.ContainsAny(a.Host, " ,;*")) {
		return caddy.NetworkAddress{}, fmt.Errorf("address %q: expected host:port or unix//path", text)
	}
	return a, nil
}

// Listen reads an address to listen on, [network/][host][:port[-port]]; the error says what to write.
func Listen(text string, port uint) (caddy.NetworkAddress, error) {
	if _, err := strconv.ParseUint(text, 10, 16); err == nil {
		return caddy.NetworkAddress{}, fmt.Errorf("%q is a host; for a port on all addresses write :%s", text, text)
	}
	if strings.HasPrefix(text, "/") {
		return caddy.NetworkAddress{}, fmt.Errorf("address %q: write unix/%s", text, text)
	}
	if err := NoURL(text); err != nil {
		return caddy.NetworkAddress{}, err
	}
	a, err := caddy.ParseNetworkAddressWithDefaults(text, "tcp", port)
	if err != nil || text[strings.IndexByte(text, '/')+1:] == "" { // a network alone, or nothing at all
		return a, fmt.Errorf("%q is not an address to listen on; write :587, 192.0.2.1:587, [2001:db8::1]:587 or unix//run/msa.sock", text)
	}
	return a, nil
}
