package matchers

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(RecipientDomain))
}

// RecipientDomain matches the domain of the recipient.
type RecipientDomain struct{ Domains }

// CaddyModule returns the Caddy module information.
func (*RecipientDomain) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.recipient_domain", New: func() caddy.Module { return new(RecipientDomain) }}
}

// Moment implements caddymsa.Matcher.
func (*RecipientDomain) Moment() caddymsa.Moment { return caddymsa.MomentRecipient }

// Match implements caddymsa.Matcher.
func (m *RecipientDomain) Match(_ *queue.Entry, r *queue.Recipient) (bool, error) {
	return m.has(r.Complete()), nil
}

// Facet implements caddymsa.FacetMatcher.
func (m *RecipientDomain) Facet() (caddymsa.Facet, []string) {
	return caddymsa.FacetRecipientDomain, m.keys()
}

// Interface guards
var (
	_ caddy.Provisioner     = (*RecipientDomain)(nil)
	_ caddymsa.Matcher      = (*RecipientDomain)(nil)
	_ caddymsa.FacetMatcher = (*RecipientDomain)(nil)
	_ caddyfile.Unmarshaler = (*RecipientDomain)(nil)
)
