package matchers

import (
	"encoding/json"
	"errors"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(RemoteIP))
}

// RemoteIP matches the client's address, or, behind proxy_protocol, the one that
// the proxy tells. A client on a unix socket matches nothing.
type RemoteIP struct {
	// Ranges to match: addresses, or networks such as 192.0.2.0/24. At least one.
	Ranges []string

	prefixes []netip.Prefix
}

// CaddyModule returns the Caddy module information.
func (*RemoteIP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.remote_ip", New: func() caddy.Module { return new(RemoteIP) }}
}

// UnmarshalJSON reads the list of ranges.
func (m *RemoteIP) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &m.Ranges) }

// MarshalJSON writes the list of ranges.
func (m *RemoteIP) MarshalJSON() ([]byte, error) { return json.Marshal(m.Ranges) }

// Provision parses the ranges.
func (m *RemoteIP) Provision(caddy.Context) error {
	if len(m.Ranges) == 0 {
		return errors.New("at least one address or network is required")
	}
	for _, text := range m.Ranges {
		p, err := conf.Network(text)
		if err != nil {
			return err
		}
		m.prefixes = append(m.prefixes, p)
	}
	return nil
}

// Moment implements caddymsa.Matcher.
func (*RemoteIP) Moment() caddymsa.Moment { return caddymsa.MomentConnection }

// Match implements caddymsa.Matcher.
func (m *RemoteIP) Match(e *queue.Entry, _ *queue.Recipient) (bool, error) {
	ip, err := netip.ParseAddr(e.RemoteIP)
	if err != nil {
		return false, nil
	}
	ip = ip.WithZone("") // a link-local address has one, which is in no network
	for _, p := range m.prefixes {
		if p.Contains(ip) {
			return true, nil
		}
	}
	return false, nil
}

// Facet implements caddymsa.FacetMatcher.
func (m *RemoteIP) Facet() (caddymsa.Facet, []string) {
	values := make([]string, len(m.prefixes))
	for i, p := range m.prefixes {
		values[i] = p.String()
	}
	return caddymsa.FacetRemoteIP, values
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	remote_ip <ranges...>
func (m *RemoteIP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return values(d, &m.Ranges) }

// Interface guards
var (
	_ caddy.Provisioner     = (*RemoteIP)(nil)
	_ caddymsa.FacetMatcher = (*RemoteIP)(nil)
	_ caddymsa.Matcher      = (*RemoteIP)(nil)
	_ caddyfile.Unmarshaler = (*RemoteIP)(nil)
)
