package policyrate

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// taken is what a submission has taken; its key is the policy.
type taken struct {
	messages map[string]bool // owners for whom the message counts
	all      []token
}

// CheckSender counts the message, and foretells what its SIZE will cost.
func (p *RateLimit) CheckSender(ctx context.Context, s *caddymsa.Submission) error {
	if p.By == byRecipientDomain {
		return nil
	}
	owner := p.owner(s, nil)
	if err := p.countMessage(ctx, s, owner); err != nil {
		return err
	}
	if s.DeclaredSize > 0 {
		return p.take(ctx, s, octets, owner, s.DeclaredSize, true)
	}
	return nil
}

// CheckRecipient counts the recipient.
func (p *RateLimit) CheckRecipient(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient) error {
	owner := p.owner(s, r)
	if err := p.countMessage(ctx, s, owner); err != nil {
		return err
	}
	return p.take(ctx, s, recipients, owner, 1, false)
}

// CheckMessage counts the octets, for each owner once.
func (p *RateLimit) CheckMessage(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	owners := make(map[string]bool)
	if p.By != byRecipientDomain {
		owners[p.owner(s, nil)] = true
	} else {
		for i := range s.Entry.Recipients {
			owners[p.owner(s, &s.Entry.Recipients[i])] = true
		}
	}
	for owner := range owners {
		if err := p.countMessage(ctx, s, owner); err != nil {
			return err
		}
		if err := p.take(ctx, s, octets, owner, m.Size, false); err != nil {
			return err
		}
	}
	return nil
}

// countMessage counts the message once for each owner, at the first moment that the policy's
// matchers allow.
func (p *RateLimit) countMessage(ctx context.Context, s *caddymsa.Submission, owner string) error {
	t := p.taken(s)
	if t.messages[owner] {
		return nil
	}
	if err := p.take(ctx, s, messages, owner, 1, false); err != nil {
		return err
	}
	t.messages[owner] = true
	return nil
}

func (p *RateLimit) taken(s *caddymsa.Submission) *taken {
	if t, ok := s.Value(p).(*taken); ok {
		return t
	}
	t := &taken{messages: make(map[string]bool)}
	s.SetValue(p, t)
	counter := s.Counter
	s.OnEnd(func(accepted bool) {
		if accepted {
			return
		}
		p.giveBack(counter, t.all)
	})
	return t
}

// owner is whose bucket it is.
func (p *RateLimit) owner(s *caddymsa.Submission, r *queue.Recipient) string {
	switch p.By {
	case byNetwork:
		if !s.RemoteIP.IsValid() {
			return "unix"
		}
		return caddymsa.ClientNetwork(s.RemoteIP).String()
	case bySenderDomain:
		return s.Sender.ASCIIDomain()
	case byRecipientDomain:
		a, _ := mailaddr.Parse(r.Complete(), true)
		return a.ASCIIDomain()
	case byServer:
		return s.Entry.Server
	}
	return p.Case.Key(s.Identity.User)
}

// take takes n of a resource from the owner's bucket; peek only looks.
func (p *RateLimit) take(ctx context.Context, s *caddymsa.Submission, resource, owner string, n int64, peek bool) error {
	r, limited := p.rates[resource]
	if !limited || n == 0 {
		return nil
	}
	if n > r.burst { // it never fits
		return &caddymsa.Refusal{Code: 552, Status: smtp.EnhancedCode{5, 3, 4}, Rule: resource,
			Text: fmt.Sprintf("Too much at once: %d %s, where %d are allowed", n, resource, r.burst)}
	}
	key, cost := resource+"\x00"+owner, r.cost(n)
	drawn, wait, err := p.draw(ctx, s, key, cost, r.depth(), peek)
	if err != nil {
		return err
	}
	if wait <= 0 {
		if !peek {
			t := p.taken(s)
			t.all = append(t.all, drawn)
		}
		return nil
	}
	refusal := &caddymsa.Refusal{Code: 450, Status: smtp.EnhancedCode{4, 7, 1}, Rule: resource,
		Text: fmt.Sprintf("Too many %s: %d in %v are allowed, come back in %.0f s", resource, r.limit, short(r.window), math.Ceil(wait.Seconds()))}
	if p.Reject {
		refusal.Code, refusal.Status = 550, smtp.EnhancedCode{5, 7, 1}
	}
	return refusal
}

// short is 1h and not 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
