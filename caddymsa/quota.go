package caddymsa

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

// QuotaPolicy is an optional interface of a policy that limits how much a user may submit.
type QuotaPolicy interface {
	// Quotas returns what is left to who would submit s, which has the identity and nothing of a message; its RemoteIP may be invalid. It counts nothing.
	Quotas(ctx context.Context, s *Submission) []counts.Quota
}
