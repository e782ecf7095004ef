package matchers

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(SenderDomain))
}

// SenderDomain matches the domain of the return path: "example.org", "*.example.org"
// for its subdomains, "*" for any. Domains compare as lower-case A-labels.
type SenderDomain struct {
	// Domains to match. At least one.
	Domains []string

	parsed domains
}

// CaddyModule returns the Caddy module information.
func (*SenderDomain) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.sender_domain", New: func() caddy.Module { return new(SenderDomain) }}
}

// UnmarshalJSON reads the list of domains.
func (m *SenderDomain) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &m.Domains) }

// MarshalJSON writes the list of domains.
func (m *SenderDomain) MarshalJSON() ([]byte, error) { return json.Marshal(m.Domains) }

// Provision parses the domains.
func (m *SenderDomain) Provision(caddy.Context) (err error) {
	m.parsed, err = parseDomains(m.Domains)
	return err
}

// Moment implements caddymsa.Matcher.
func (*SenderDomain) Moment() caddymsa.Moment { return caddymsa.MomentSender }

// Match implements caddymsa.Matcher.
func (m *SenderDomain) Match(e *queue.Entry, _ *queue.Recipient) (bool, error) {
	return m.parsed.match(e.Sender), nil
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	sender_domain <domains...>
func (m *SenderDomain) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return values(d, &m.Domains) }

// Interface guards
var (
	_ caddy.Provisioner     = (*SenderDomain)(nil)
	_ caddymsa.Matcher      = (*SenderDomain)(nil)
	_ caddyfile.Unmarshaler = (*SenderDomain)(nil)
)
