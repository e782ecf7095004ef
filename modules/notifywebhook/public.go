package notifywebhook

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// allowed are hosts that URLs may name.
type allowed struct {
	host string // "" is any
	sub  bool   // those below it
	port string
}

func parseAllowed(text string) (allowed, error) {
	a := allowed{host: text, port: "443"}
	if strings.Contains(text, "/") {
		return a, fmt.Errorf("%q is not a host name; write one without https:// and path, such as hooks.example.org", text)
	}
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		a.host, a.port = text[:i], text[i+1:]
		if p, err := netip.ParseAddrPort("0.0.0.0:" + a.port); err != nil || p.Port() == 0 {
			return a, fmt.Errorf("%q: %q is not a port", text, a.port)
		}
	}
	if a.host == "*" {
		a.host = ""
		return a, nil
	}
	a.host, a.sub = strings.CutPrefix(a.host, "*.")
	host, err := mailaddr.ASCIIDomain(a.host)
	if err == nil {
		err = mailaddr.ValidDomain(host, false)
	}
	if err != nil {
		return a, fmt.Errorf("%q is not a host name, *. and a domain, or *; a port may follow", text)
	}
	a.host = strings.ToLower(host)
	return a, nil
}

func (a *allowed) match(host, port string) bool {
	switch {
	case port != a.port:
		return false
	case a.host == "":
		return true
	case a.sub:
		return strings.HasSuffix(host, "."+a.host)
	}
	return host == a.host
}

// permitted tells whether a user may have that URL.
func (w *UserWebhook) permitted(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("it is not a URL")
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	switch {
	case u.Scheme != "https":
		return errors.New("it is not https")
	case u.User != nil:
		return errors.New("it has a user or a password in it")
	case host == "":
		return errors.New("it has no host")
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	for i := range w.hosts {
		if w.hosts[i].match(host, port) {
			return nil
		}
	}
	return fmt.Errorf("allow does not have its host, %s:%s", host, port)
}

// control is net.Dialer's.
type control = func(network, address string, c syscall.RawConn) error

// errNotPublic is of a URL whose host has such an address.
var errNotPublic = errors.New("it is not a public address")

// publicOnly refuses an address that the name of a user's URL has resolved to, before it is connected to.
func publicOnly(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%s: %w", address, errNotPublic)
	}
	if !public(a.Addr()) {
		return fmt.Errorf("%s: %w", a.Addr(), errNotPublic)
	}
	return nil
}

// special are networks of IANA's registries that are not reached by everybody, or hold an address of another kind.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24",
	"192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
)

// unicast is all of IPv6 that is global unicast; unique local, link-local, mapped, translated and all other addresses are not in it.
var unicast = netip.MustParsePrefix("2000::/3")

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// public tells whether everybody can reach an address.
func public(a netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	if a.Is6() && !unicast.Contains(a) {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return a.IsValid()
}
