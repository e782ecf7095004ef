// Package matchers has the matchers for policies and routes: recipient_domain,
// sender_domain, user, attribute and remote_ip. Each takes a list of values and matches if one
// of them does.
package matchers

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// values reads one or more arguments after the matcher's name, and settings.
func values(d *caddyfile.Dispenser, into *[]string, settings ...conf.Setting) error {
	d.Next() // consume the matcher's name
	if err := conf.Parse(d, conf.List(d.Val(), into)); err != nil {
		return err
	}
	return conf.Block(d, settings...)
}

// Domains is what the matchers of domains share: a list of "example.org",
// "*.example.org" for its subdomains, or "*" for any. Domains compare as lower-case A-labels.
type Domains struct {
	// List of the domains. At least one.
	List []string

	patterns []mailaddr.DomainPattern // a few are gone through,
	set      mailaddr.Set             // and many are looked up
}

// few is how many patterns are gone through faster than one is looked up.
const few = 4

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
			return err // which names it
		}
		m.patterns = append(m.patterns, p)
		if err := m.set.Add(text); err != nil {
			return err
		}
	}
	return nil
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	<matcher> <domains...>
func (m *Domains) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return values(d, &m.List) }

// keys are the patterns to be looked up by; none if one of them is "*".
func (m *Domains) keys() (keys []string) {
	for _, p := range m.patterns {
		key := p.Key()
		if key == "*" {
			return nil
		}
		keys = append(keys, key)
	}
	return keys
}

// has takes a path as it is stored; one without a domain is in no list.
func (m *Domains) has(path string) bool {
	domain := mailaddr.DomainOf(path)
	if len(m.patterns) > few {
		return m.set.HasDomain(domain)
	}
	for _, p := range m.patterns {
		if p.Match(domain) {
			return true
		}
	}
	return false
}
