package gate

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: Redis answers, if refusals are counted there.
func (t *Throttle) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	return t.shared.Examine(ctx, "throttle", x.Subject)
}
