// Package matchers has the matchers for policies and routes: recipient_domain,
// sender_domain, user and remote_ip. Each takes a list of values and matches if one
// of them does.
package matchers

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// values reads one or more arguments after the matcher's name.
func values(d *caddyfile.Dispenser, into *[]string) error {
	d.Next() // consume the matcher's name
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*into = append(*into, args...)
	if d.NextBlock(d.Nesting()) {
		return d.Err("takes no block")
	}
	return nil
}

// Domains is what the matchers of domains share: a list of "example.org",
// "*.example.org" for its subdomains, or "*" for any. Domains compare as lower-case A-labels.
type Domains struct {
	// List of the domains. At least one.
	List []string

	patterns []mailaddr.DomainPattern
}

// UnmarshalJSON reads the list.
func (m *Domains) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &m.List) }

// MarshalJSON writes the list.
func (m *Domains) MarshalJSON() ([]byte, error) { return json.Marshal(m.List) }

// Provision parses the domains.
func (m *Domains) Provision(caddy.Context) error {
	if len(m.List) == 0 {
		return fmt.Errorf("at least one domain is required")
	}
	for _, text := range m.List {
		p, err := mailaddr.ParseDomainPattern(text)
		if err != nil {
			return fmt.Errorf("domain %q: %w", text, err)
		}
		m.patterns = append(m.patterns, p)
	}
	return nil
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	<matcher> <domains...>
func (m *Domains) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return values(d, &m.List) }

// has takes a path as it is stored; one without a domain is in no list.
func (m *Domains) has(path string) bool {
	a, err := mailaddr.Parse(path, true)
	if err != nil {
		return false
	}
	domain := a.ASCIIDomain()
	for _, p := range m.patterns {
		if p.Match(domain) {
			return true
		}
	}
	return false
}
