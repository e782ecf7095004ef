package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/pires/go-proxyproto"
)

// proxyRules are whose word a proxy_protocol wrapper takes. In SMTP the server speaks first,
// so nobody else may be waited for to send a header: they are greeted at once.
type proxyRules struct {
	allow, deny []netip.Prefix
	fallback    proxyproto.Policy
}

// parseProxyRules returns nil for any other wrapper.
func parseProxyRules(raw json.RawMessage) (*proxyRules, error) {
	var config struct {
		Wrapper  string   `json:"wrapper"`
		Allow    []string `json:"allow"`
		Deny     []string `json:"deny"`
		Fallback string   `json:"fallback_policy"`
	}
	if err := json.Unmarshal(raw, &config); err != nil || config.Wrapper != "proxy_protocol" {
		return nil, err
	}
	r := new(proxyRules)
	var err error
	if r.allow, err = parsePrefixes(config.Allow); err != nil {
		return nil, fmt.Errorf("proxy_protocol: allow: %w", err)
	}
	if r.deny, err = parsePrefixes(config.Deny); err != nil {
		return nil, fmt.Errorf("proxy_protocol: deny: %w", err)
	}
	switch strings.ToUpper(config.Fallback) {
	case "", "IGNORE":
		r.fallback = proxyproto.IGNORE
	case "SKIP":
		r.fallback = proxyproto.SKIP
	case "REJECT":
		r.fallback = proxyproto.REJECT
	default: // USE and REQUIRE
		r.fallback = proxyproto.USE
	}
	return r, nil
}

func parsePrefixes(texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network (for example 192.0.2.0/24)", text)
		}
		all = append(all, p)
	}
	return all, nil
}

// check refuses rules by which a client could claim any address.
func (r *proxyRules) check() error {
	switch {
	case len(r.allow) == 0:
		return errors.New("proxy_protocol: allow is required, else any client could claim any address; name your load balancers, as in allow 192.0.2.0/24")
	case r.fallback == proxyproto.USE:
		return errors.New("proxy_protocol: fallback_policy use and require would let clients that allow does not name claim any address; " +
			"name your load balancers in allow, and use ignore, skip or reject for the others")
	}
	return nil
}

// trusts tells whether the wrapper takes a peer's word; a unix socket's always, as Caddy has it.
func (r *proxyRules) trusts(peer net.Addr) bool {
	if caddy.IsUnixNetwork(peer.Network()) {
		return true
	}
	return covers(r.allow, peer) && !covers(r.deny, peer)
}

// policy is for a peer that is not trusted.
func (r *proxyRules) policy(peer net.Addr) proxyproto.Policy {
	if covers(r.deny, peer) {
		return proxyproto.REJECT // as Caddy has it
	}
	return r.fallback
}

func covers(networks []netip.Prefix, peer net.Addr) bool {
	ip := clientIP(peer).WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// unproxied greets a client whose word is not taken, and looks for a header in what it says first.
type unproxied struct {
	net.Listener
	policy proxyproto.Policy
}

// Accept implements net.Listener.
func (l unproxied) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil || l.policy == proxyproto.SKIP {
		return nc, err
	}
	// No time-out of its own: the session's deadlines hold.
	return unproxiedConn{nc, proxyproto.NewConn(nc, proxyproto.WithPolicy(l.policy), proxyproto.SetReadHeaderTimeout(0))}, nil
}

// unproxiedConn drops a header, or fails at it.
type unproxiedConn struct {
	net.Conn
	in *proxyproto.Conn
}

// Read implements net.Conn.
func (c unproxiedConn) Read(p []byte) (int, error) { return c.in.Read(p) }
