package app

import (
	"context"
	"errors"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// run calls check if the policy's matchers match, and puts the policy's name to
// what it says.
func (p *PolicyConfig) run(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient, m *caddymsa.Message, check func() error) error {
	calling(ctx, "policy "+p.name, "match")
	ok, err := p.matchers.match(ctx, s, r, m)
	if err == nil && ok {
		calling(ctx, "policy "+p.name, "check")
		done := step(ctx, "policy ", p.name)
		held := s.Held
		err = p.traced(s, m, check)
		if p.LogOnly && s.Held != held {
			p.wouldHave(s, "held", zap.String(fieldReason, s.Held))
			s.Held = held
		}
		done(p.named(err))
	}
	if err == nil {
		return nil
	}
	err = p.named(err)
	if !p.LogOnly {
		return err
	}
	what, reply := "refused", toReply(err)
	if before, ok := errors.AsType[*caddymsa.AlreadyAccepted](err); ok {
		a := accepted(before.ID)
		what, reply = "said that it was accepted before", &smtp.SMTPError{Code: a.Code, EnhancedCode: a.Enhanced, Message: a.Text}
	}
	p.wouldHave(s, what, zap.String(fieldReply, caddymsa.ReplyText(reply)), zap.Error(err))
	return nil
}

// wouldHave tells what a policy does not do because of log_only.
func (p *PolicyConfig) wouldHave(s *caddymsa.Submission, what string, fields ...zap.Field) {
	if p.gate != nil && !p.gate().Samples.Client(p.log, "policy would have "+what+": "+p.name, caddymsa.ClientNetwork(s.RemoteIP)) {
		return
	}
	p.log.Info("policy would have "+what, append([]zap.Field{zap.String(fieldPolicy, p.name), zap.String(fieldSession, s.Session), zap.String(fieldQueueID, s.Entry.ID),
		zap.String(fieldUser, s.Entry.User), zap.String(fieldSender, s.Entry.Sender)}, fields...)...)
}
