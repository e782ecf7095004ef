package matchers

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(RecipientDomain))
}

// RecipientDomain matches the domain of the recipient: "example.org", "*.example.org"
// for its subdomains, "*" for any. Domains compare as lower-case A-labels.
type RecipientDomain struct {
	// Domains to match. At least one.
	Domains []string

	parsed domains
}

// CaddyModule returns the Caddy module information.
func (*RecipientDomain) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.recipient_domain", New: func() caddy.Module { return new(RecipientDomain) }}
}

// UnmarshalJSON reads the list of domains.
func (m *RecipientDomain) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &m.Domains) }

// MarshalJSON writes the list of domains.
func (m *RecipientDomain) MarshalJSON() ([]byte, error) { return json.Marshal(m.Domains) }

// Provision parses the domains.
func (m *RecipientDomain) Provision(caddy.Context) (err error) {
	m.parsed, err = parseDomains(m.Domains)
	return err
}

// Moment implements caddymsa.Matcher.
func (*RecipientDomain) Moment() caddymsa.Moment { return caddymsa.MomentRecipient }

// Match implements caddymsa.Matcher.
func (m *RecipientDomain) Match(_ *queue.Entry, r *queue.Recipient) (bool, error) {
	return m.parsed.match(r.Complete()), nil
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	recipient_domain <domains...>
func (m *RecipientDomain) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return values(d, &m.Domains)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*RecipientDomain)(nil)
	_ caddymsa.Matcher      = (*RecipientDomain)(nil)
	_ caddyfile.Unmarshaler = (*RecipientDomain)(nil)
)
