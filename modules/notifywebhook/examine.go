package notifywebhook

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: the service can be connected to, TLS included. It is told nothing.
func (w *Webhook) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("notifiers", x.Subject)
	if err := w.client.Reach(ctx); err != nil {
		n.Wrong("start the web service, or correct its url (and ca) in notify", "events wait: the web service cannot be reached: %v", err)
	} else {
		n.OK("the web service %s can be reached", w.client.Name())
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*Webhook)(nil)
