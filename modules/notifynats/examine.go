package notifynats

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: the broker can be connected to. Nothing is published.
func (n *NATS) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	notes := doctor.About("notifiers", x.Subject)
	if _, err := n.client.Connect(ctx); err != nil {
		notes.Wrong("start NATS, or correct its urls and the account in notify", "events wait: %v", err)
	} else {
		notes.OK("%s can be reached", n.client.Name())
	}
	return notes.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*NATS)(nil)
