package caddymsa

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A policy is a module in the namespace msa.policies that implements one or more
// of the interfaces below. A *Refusal, or an *smtp.SMTPError, refuses with its code and
// text, behind which the client reads the policy's name; any other error is a failure of the
// policy: the client gets 451 4.3.0, the log has the cause. Methods are called concurrently
// and return soon after ctx ends.

// SenderPolicy is asked once the sender is known, at MAIL.
type SenderPolicy interface {
	CheckSender(ctx context.Context, s *Submission) error
}

// RecipientPolicy is asked for each recipient, at RCPT.
type RecipientPolicy interface {
	CheckRecipient(ctx context.Context, s *Submission, r *queue.Recipient) error
}

// MessagePolicy is asked at the end of data, before the message is stored. It may
// read the message and prepend header fields, never change what was submitted.
type MessagePolicy interface {
	CheckMessage(ctx context.Context, s *Submission, m *Message) error
}
