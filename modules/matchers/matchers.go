// Package matchers has the matchers for policies and routes: recipient_domain,
// sender_domain, user and remote_ip. Each takes a list of values and matches if one
// of them does.
package matchers

import (
	"fmt"

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

// domains are patterns of domain names.
type domains []mailaddr.DomainPattern

func parseDomains(texts []string) (ds domains, err error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("at least one domain is required")
	}
	for _, text := range texts {
		p, err := mailaddr.ParseDomainPattern(text)
		if err != nil {
			return nil, fmt.Errorf("domain %q: %w", text, err)
		}
		ds = append(ds, p)
	}
	return ds, nil
}

// match takes a path as it is stored; one that has no domain matches nothing.
func (ds domains) match(path string) bool {
	a, err := mailaddr.Parse(path, true)
	if err != nil {
		return false
	}
	domain := a.ASCIIDomain()
	for _, p := range ds {
		if p.Match(domain) {
			return true
		}
	}
	return false
}
