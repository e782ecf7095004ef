package caddymsa

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A policy is a module in the namespace msa.policies that implements one or more
// of the interfaces below. An *smtp.SMTPError refuses with its code and text;
// any other error is a failure of the policy: the client hears 451 4.3.0, the
// log has the cause. Methods are called concurrently and return soon after ctx ends.

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

// Submission is an envelope in flight and who submits it. Policies read it.
type Submission struct {
	// Entry holds everything that is stored with the message. Its Recipients are
	// those accepted so far.
	Entry *queue.Entry
	// Sender is the parsed reverse path.
	Sender mailaddr.Address
	// Identity is who the client has proven to be.
	Identity Identity
	// Helo is the client's EHLO name; empty when it sent none within TLS.
	Helo string
}

// Message is a submission's body before it is stored.
type Message struct {
	// Open reads the message from its start, as submitted.
	Open func() (io.ReadCloser, error)

	header []byte
}

// Prepend puts a header field before the message, above those prepended earlier.
// The field is complete, folded and ends in CRLF.
func (m *Message) Prepend(field string) {
	m.header = append([]byte(field), m.header...)
}

// PolicyConfig is one element of a server's policies.
type PolicyConfig struct {
	// Match restricts the policy to what one of these sets matches. Empty: everything.
	MatcherSetsRaw []caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=msa.matchers"`
	// Policy is the module.
	PolicyRaw json.RawMessage `json:"policy,omitempty" caddy:"namespace=msa.policies inline_key=module"`

	matchers matcherSets
	module   any
	name     string
}

func (p *PolicyConfig) provision(ctx caddy.Context) error {
	if p.PolicyRaw == nil {
		return fmt.Errorf(`a policy is required, as in "policy": {"module": "sender_identity"}`)
	}
	mod, err := ctx.LoadModule(p, "PolicyRaw")
	if err != nil {
		return err
	}
	p.module, p.name = mod, moduleName(mod)
	switch mod.(type) {
	case SenderPolicy, RecipientPolicy, MessagePolicy:
	default:
		return fmt.Errorf("%s is no policy: it checks neither senders, recipients nor messages", p.name)
	}
	p.matchers, err = loadMatchers(ctx, p, "MatcherSetsRaw")
	return err
}

// policies is a server's chain.
type policies []*PolicyConfig

// sender runs what can be said at MAIL.
func (ps policies) sender(ctx context.Context, s *Submission) error {
	for _, p := range ps {
		if c, ok := p.module.(SenderPolicy); ok && p.matchers.moment() <= MomentSender {
			if err := p.run(s, nil, func() error { return c.CheckSender(ctx, s) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// recipient runs what can be said at RCPT, the sender's checks whose matchers had
// to wait for a recipient among it.
func (ps policies) recipient(ctx context.Context, s *Submission, r *queue.Recipient) error {
	for _, p := range ps {
		at := p.matchers.moment()
		if c, ok := p.module.(SenderPolicy); ok && at == MomentRecipient {
			if err := p.run(s, r, func() error { return c.CheckSender(ctx, s) }); err != nil {
				return err
			}
		}
		if c, ok := p.module.(RecipientPolicy); ok && at <= MomentRecipient {
			if err := p.run(s, r, func() error { return c.CheckRecipient(ctx, s, r) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// message runs what has to wait for the end of data. Where a matcher asks about
// the recipient, the policy runs if one of them matches.
func (ps policies) message(ctx context.Context, s *Submission, m *Message) error {
	for _, p := range ps {
		c, ok := p.module.(MessagePolicy)
		if !ok {
			continue
		}
		for i := range s.Entry.Recipients {
			ran := false
			err := p.run(s, &s.Entry.Recipients[i], func() error { ran = true; return c.CheckMessage(ctx, s, m) })
			if err != nil {
				return err
			}
			if ran || p.matchers.moment() < MomentRecipient {
				break
			}
		}
	}
	return nil
}

// run calls check if the policy's matchers match, and puts the policy's name to
// its refusal for the log.
func (p *PolicyConfig) run(s *Submission, r *queue.Recipient, check func() error) error {
	ok, err := p.matchers.match(s.Entry, r)
	if err == nil && ok {
		err = check()
	}
	if err != nil {
		return &policyError{policy: p.name, err: err}
	}
	return nil
}

// policyError is a refusal or a failure with the policy's name.
type policyError struct {
	policy string
	err    error
}

func (e *policyError) Error() string { return "policy " + e.policy + ": " + e.err.Error() }
func (e *policyError) Unwrap() error { return e.err }
