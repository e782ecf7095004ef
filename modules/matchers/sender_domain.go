package matchers

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(SenderDomain))
}

// SenderDomain matches the domain of the return path.
type SenderDomain struct{ Domains }

// CaddyModule returns the Caddy module information.
func (*SenderDomain) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.sender_domain", New: func() caddy.Module { return new(SenderDomain) }}
}

// Moment implements caddymsa.Matcher.
func (*SenderDomain) Moment() caddymsa.Moment { return caddymsa.MomentSender }

// Match implements caddymsa.Matcher.
func (m *SenderDomain) Match(e *queue.Entry, _ *queue.Recipient) (bool, error) {
	return m.has(e.Sender), nil
}

// Facet implements caddymsa.FacetMatcher.
func (m *SenderDomain) Facet() (caddymsa.Facet, []string) {
	return caddymsa.FacetSenderDomain, m.keys()
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SenderDomain)(nil)
	_ caddymsa.Matcher      = (*SenderDomain)(nil)
	_ caddymsa.FacetMatcher = (*SenderDomain)(nil)
	_ caddyfile.Unmarshaler = (*SenderDomain)(nil)
)
