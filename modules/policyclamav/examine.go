package policyclamav

import (
	"context"
	"net"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: each clamd can be connected to. It is asked nothing.
func (p *ClamAV) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("policies", x.Subject)
	for _, a := range p.addresses {
		conn, err := new(net.Dialer).DialContext(ctx, a.Network, a.JoinHostPort(0))
		if err != nil {
			n.Wrong("start clamd, correct its address, or let the user that Caddy runs as use its socket; until then on_failure decides", "clamd cannot be reached: %v", err)
			continue
		}
		_ = conn.Close()
		n.OK("clamd at %s can be reached", a.JoinHostPort(0))
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*ClamAV)(nil)
