package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// PolicyConfig is one element of a server's policies.
type PolicyConfig struct {
	// Match restricts the policy to what one of these sets matches. Empty: everything.
	MatcherSetsRaw []caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=msa.matchers"`
	// Policy is the module.
	PolicyRaw json.RawMessage `json:"policy,omitempty" caddy:"namespace=msa.policies inline_key=module"`
	// LogOnly says in the log what the policy would have refused or held, and lets it pass. Fields
	// that it would have prepended are not.
	LogOnly bool `json:"log_only,omitempty"`

	matchers matcherSets
	module   any
	name     string
	log      *zap.Logger
	gate     func() *gate.Gate // the server's, once it has started; it samples log lines
}

func (p *PolicyConfig) provision(ctx caddy.Context) error {
	if p.PolicyRaw == nil {
		return fmt.Errorf(`a policy is required, as in "policy": {"module": "sender_identity"}`)
	}
	mod, err := ctx.LoadModule(p, "PolicyRaw")
	if err != nil {
		return err
	}
	p.module, p.name, p.log = mod, moduleName(mod), terminal.Logger(ctx.Logger())
	switch mod.(type) {
	case caddymsa.SenderPolicy, caddymsa.RecipientPolicy, caddymsa.MessagePolicy:
	default:
		return fmt.Errorf("%s is not a policy: it checks neither senders, recipients nor messages", p.name)
	}
	if p.matchers, err = loadMatchers(ctx, p, "MatcherSetsRaw", p.MatcherSetsRaw, caddymsa.MomentMessage); err != nil {
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

// policies is a server's chain, and which of it has something to do at each moment.
type policies struct {
	all                              []*PolicyConfig
	atSender, atRecipient, atMessage lookup
}

func newPolicies(all []*PolicyConfig) *policies {
	ps := &policies{all: all}
	for i, p := range all {
		at := p.matchers.moment()
		_, ofSender := p.module.(caddymsa.SenderPolicy)
		_, ofRecipient := p.module.(caddymsa.RecipientPolicy)
		_, ofMessage := p.module.(caddymsa.MessagePolicy)
		if ofSender && at <= caddymsa.MomentSender {
			ps.atSender.add(i, p.matchers)
		}
		if ofSender && at == caddymsa.MomentRecipient || ofRecipient && at <= caddymsa.MomentRecipient {
			ps.atRecipient.add(i, p.matchers)
		}
		if ofMessage || at == caddymsa.MomentMessage {
			ps.atMessage.add(i, p.matchers)
		}
	}
	return ps
}

// sender runs what can be said at MAIL.
func (ps *policies) sender(ctx context.Context, s *caddymsa.Submission) error {
	var buf [8][]int32
	for found := ps.atSender.all(buf[:0], s.Entry, nil); ; {
		i, more := found.next()
		if !more {
			return nil
		}
		p := ps.all[i]
		if err := p.sender(ctx, s, nil, nil); err != nil {
			return err
		}
	}
}

// recipient runs what can be said at RCPT, the sender's checks whose matchers had
// to wait for a recipient among it.
func (ps *policies) recipient(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient) error {
	var buf [8][]int32
	for found := ps.atRecipient.all(buf[:0], s.Entry, r); ; {
		i, more := found.next()
		if !more {
			return nil
		}
		p := ps.all[i]
		if p.matchers.moment() == caddymsa.MomentRecipient {
			if err := p.sender(ctx, s, r, nil); err != nil {
				return err
			}
		}
		if err := p.recipient(ctx, s, r, nil); err != nil {
			return err
		}
	}
}

// message runs what has to wait for the end of data.
func (ps *policies) message(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	about, found := ps.aboutMessage(s.Entry)
	for {
		i, more := found.next()
		if !more {
			return nil
		}
		p, rcpts := ps.all[i], about.of(i)
		if p.matchers.moment() == caddymsa.MomentMessage {
			if err := p.late(ctx, s, m, rcpts); err != nil {
				return err
			}
		}
		if err := p.message(ctx, s, m, rcpts); err != nil {
			return err
		}
	}
}

// recipients are those about whom a policy is to be asked.
type recipients struct {
	everybody []*queue.Recipient
	some      map[int32][]*queue.Recipient // of policies that can be looked up
}

func (rs *recipients) of(policy int) []*queue.Recipient {
	if some := rs.some[int32(policy)]; some != nil {
		return some
	}
	return rs.everybody
}

// aboutMessage finds which policies are to be asked about which of the recipients, so that this takes
// their number and not that number times the policies'.
func (ps *policies) aboutMessage(e *queue.Entry) (*recipients, numbers) {
	rs := &recipients{everybody: make([]*queue.Recipient, len(e.Recipients))}
	var buf [8][]int32
	var looked []int32
	for i := range e.Recipients {
		r := &e.Recipients[i]
		rs.everybody[i] = r
		for found := ps.atMessage.some(buf[:0], e, r); ; {
			n, more := found.next()
			if !more {
				break
			}
			if rs.some == nil {
				rs.some = make(map[int32][]*queue.Recipient)
			}
			if rs.some[int32(n)] == nil {
				looked = append(looked, int32(n))
			}
			rs.some[int32(n)] = append(rs.some[int32(n)], r)
		}
	}
	slices.Sort(looked)
	return rs, numbers{ps.atMessage.always, looked}
}

// sender checks the sender, if the policy does that.
func (p *PolicyConfig) sender(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient, m *caddymsa.Message) error {
	c, ok := p.module.(caddymsa.SenderPolicy)
	if !ok {
		return nil
	}
	return p.run(ctx, s, r, m, func() error { return c.CheckSender(ctx, s) })
}

// recipient checks a recipient, if the policy does that.
func (p *PolicyConfig) recipient(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient, m *caddymsa.Message) error {
	c, ok := p.module.(caddymsa.RecipientPolicy)
	if !ok {
		return nil
	}
	return p.run(ctx, s, r, m, func() error { return c.CheckRecipient(ctx, s, r) })
}

// late runs the checks of sender and recipients whose matchers had to wait for the message.
func (p *PolicyConfig) late(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message, rcpts []*queue.Recipient) error {
	for _, r := range rcpts {
		if err := p.sender(ctx, s, r, m); err != nil {
			return err
		}
		if err := p.recipient(ctx, s, r, m); err != nil {
			return err
		}
	}
	return nil
}

// message checks the message. Where a matcher asks about the recipient, that is done once, if
// one of them matches.
func (p *PolicyConfig) message(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message, rcpts []*queue.Recipient) error {
	c, ok := p.module.(caddymsa.MessagePolicy)
	if !ok {
		return nil
	}
	view := m
	if p.LogOnly {
		view = m.Preview()
	}
	for _, r := range rcpts {
		ran := false
		err := p.run(ctx, s, r, m, func() error { ran = true; return c.CheckMessage(ctx, s, view) })
		if err != nil {
			return err
		}
		if ran || p.matchers.moment() < caddymsa.MomentRecipient {
			break
		}
	}
	return nil
}

// named is an error with the policy's name.
func (p *PolicyConfig) named(err error) error {
	if err == nil {
		return nil
	}
	return &policyError{policy: p.name, err: err}
}
