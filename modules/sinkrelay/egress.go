package sinkrelay

import (
	"net/netip"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// Egress implements caddymsa.Egresser.
func (r *Relay) Egress() []netip.Addr {
	if ip, err := netip.ParseAddr(r.Bind); err == nil {
		return []netip.Addr{ip.Unmap()}
	}
	return nil
}

// Interface guard
var _ caddymsa.Egresser = (*Relay)(nil)
