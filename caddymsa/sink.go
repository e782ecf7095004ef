package caddymsa

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// RecipientChecker is an optional interface of a sink: it is asked at RCPT, after
// routing, whether the sink could take this recipient at all. An *smtp.SMTPError
// refuses the recipient.
type RecipientChecker interface {
	CheckRecipient(ctx context.Context, e *queue.Entry, r *queue.Recipient) error
}
