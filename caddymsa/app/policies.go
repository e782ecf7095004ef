package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// PolicyConfig is one element of a server's policies.
type PolicyConfig struct {
	// Match restricts the policy to what one of these sets matches. Empty: everything.
	MatcherSetsRaw []caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=msa.matchers"`
	// Policy is the module.
	PolicyRaw json.RawMessage `json:"policy,omitempty" caddy:"namespace=msa.policies inline_key=module"`
	// LogOnly says in the log what the policy would have refused, and lets it pass. Fields
	// that it would have prepended are not.
	LogOnly bool `json:"log_only,omitempty"`

	matchers matcherSets
	module   any
	name     string
	log      *zap.Logger
}

func (p *PolicyConfig) provision(ctx caddy.Context) error {
	if p.PolicyRaw == nil {
		return fmt.Errorf(`a policy is required, as in "policy": {"module": "sender_identity"}`)
	}
	mod, err := ctx.LoadModule(p, "PolicyRaw")
	if err != nil {
		return err
	}
	p.module, p.name, p.log = mod, moduleName(mod), ctx.Logger()
	switch mod.(type) {
	case caddymsa.SenderPolicy, caddymsa.RecipientPolicy, caddymsa.MessagePolicy:
	default:
		return fmt.Errorf("%s is not a policy: it checks neither senders, recipients nor messages", p.name)
	}
	if p.matchers, err = loadMatchers(ctx, p, "MatcherSetsRaw", caddymsa.MomentMessage); err != nil {
		return err
	}
	if p.name == senderIdentity && p.matchers.moment() > caddymsa.MomentSender {
		return fmt.Errorf("%s cannot wait for what its matchers ask: use matchers of the user, the client or the sender", p.name)
	}
	return nil
}

// senderIdentity is the policy that is in force without being named.
const senderIdentity = "sender_identity"

// isSenderIdentity tells whether this is one, before it is loaded.
func (p *PolicyConfig) isSenderIdentity() bool {
	var m struct {
		Module string `json:"module"`
	}
	return p != nil && json.Unmarshal(p.PolicyRaw, &m) == nil && m.Module == senderIdentity
}

// policies is a server's chain.
type policies []*PolicyConfig

// sender runs what can be said at MAIL.
func (ps policies) sender(ctx context.Context, s *caddymsa.Submission) error {
	for _, p := range ps {
		if c, ok := p.module.(caddymsa.SenderPolicy); ok && p.matchers.moment() <= caddymsa.MomentSender {
			if err := p.run(ctx, s, nil, nil, func() error { return c.CheckSender(ctx, s) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// recipient runs what can be said at RCPT, the sender's checks whose matchers had
// to wait for a recipient among it.
func (ps policies) recipient(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient) error {
	for _, p := range ps {
		at := p.matchers.moment()
		if c, ok := p.module.(caddymsa.SenderPolicy); ok && at == caddymsa.MomentRecipient {
			if err := p.run(ctx, s, r, nil, func() error { return c.CheckSender(ctx, s) }); err != nil {
				return err
			}
		}
		if c, ok := p.module.(caddymsa.RecipientPolicy); ok && at <= caddymsa.MomentRecipient {
			if err := p.run(ctx, s, r, nil, func() error { return c.CheckRecipient(ctx, s, r) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// message runs what has to wait for the end of data.
func (ps policies) message(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	for _, p := range ps {
		if p.matchers.moment() == caddymsa.MomentMessage {
			if err := p.late(ctx, s, m); err != nil {
				return err
			}
		}
		if err := p.message(ctx, s, m); err != nil {
			return err
		}
	}
	return nil
}

// late runs the checks of sender and recipients whose matchers had to wait for the message.
func (p *PolicyConfig) late(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	for i := range s.Entry.Recipients {
		r := &s.Entry.Recipients[i]
		if c, ok := p.module.(caddymsa.SenderPolicy); ok {
			if err := p.run(ctx, s, r, m, func() error { return c.CheckSender(ctx, s) }); err != nil {
				return err
			}
		}
		if c, ok := p.module.(caddymsa.RecipientPolicy); ok {
			if err := p.run(ctx, s, r, m, func() error { return c.CheckRecipient(ctx, s, r) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// message checks the message. Where a matcher asks about the recipient, that is done once, if
// one of them matches.
func (p *PolicyConfig) message(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	c, ok := p.module.(caddymsa.MessagePolicy)
	if !ok {
		return nil
	}
	view := m
	if p.LogOnly {
		view = m.Preview()
	}
	for i := range s.Entry.Recipients {
		ran := false
		err := p.run(ctx, s, &s.Entry.Recipients[i], m, func() error { ran = true; return c.CheckMessage(ctx, s, view) })
		if err != nil {
			return err
		}
		if ran || p.matchers.moment() < caddymsa.MomentRecipient {
			break
		}
	}
	return nil
}

// run calls check if the policy's matchers match, and puts the policy's name to
// what it says.
func (p *PolicyConfig) run(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient, m *caddymsa.Message, check func() error) error {
	calling(ctx, "policy "+p.name, "match")
	ok, err := p.matchers.match(ctx, s, r, m)
	if err == nil && ok {
		calling(ctx, "policy "+p.name, "check")
		err = check()
	}
	if err == nil {
		return nil
	}
	err = &policyError{policy: p.name, err: err}
	if !p.LogOnly {
		return err
	}
	msg, reply := "policy would have refused", toReply(err)
	if before, ok := errors.AsType[*caddymsa.AlreadyAccepted](err); ok {
		a := accepted(before.ID)
		msg, reply = "policy would have said that it was accepted before", &smtp.SMTPError{Code: a.Code, EnhancedCode: a.Enhanced, Message: a.Text}
	}
	p.log.Info(msg, zap.String(fieldPolicy, p.name), zap.String(fieldSession, s.Session), zap.String(fieldQueueID, s.Entry.ID),
		zap.String(fieldUser, s.Entry.User), zap.String(fieldSender, s.Entry.Sender), zap.String(fieldReply, caddymsa.ReplyText(reply)), zap.Error(err))
	return nil
}
