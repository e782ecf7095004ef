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

// CheckSender counts the message, and foretells what its SIZE will cost.
func (p *RateLimit) CheckSender(ctx context.Context, s *caddymsa.Submission) error {
	if err := p.checkMessage(s, octets, s.DeclaredSize, false); err != nil {
		return err
	}
	if p.By == byRecipientDomain {
		return nil
	}
	owner := p.owner(s, nil)
	if err := p.countMessage(ctx, s, owner); err != nil {
		return err
	}
	// Without SIZE it is one octet, so that who may submit none hears it now.
	return p.take(ctx, s, octets, owner, "", max(1, s.DeclaredSize), true)
}

// CheckRecipient counts the recipient.
func (p *RateLimit) CheckRecipient(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient) error {
	before, atEnd := s.Ahead(r)
	if err := p.checkMessage(s, recipients, int64(before)+1, atEnd); err != nil {
		return err
	}
	owner := p.owner(s, r)
	if err := p.countMessage(ctx, s, owner); err != nil {
		return err
	}
	return p.take(ctx, s, recipients, owner, r.Address, 1, false)
}

// CheckMessage counts the octets, for each owner once.
func (p *RateLimit) CheckMessage(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	if err := p.checkMessage(s, octets, m.Size, true); err != nil {
		return err
	}
	for owner := range p.owners(s) {
		if err := p.countMessage(ctx, s, owner); err != nil {
			return err
		}
		if err := p.take(ctx, s, octets, owner, "", m.Size, false); err != nil {
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
	if err := p.take(ctx, s, messages, owner, "", 1, false); err != nil {
		return err
	}
	t.messages[owner] = true
	return nil
}

// owners are those who share the message's octets. Of domains they are those that the policy was asked about: its matchers may be for some.
func (p *RateLimit) owners(s *caddymsa.Submission) map[string]bool {
	if p.By != byRecipientDomain {
		return map[string]bool{p.owner(s, nil): true}
	}
	owners, asked := make(map[string]bool), p.taken(s).messages
	for i := range s.Entry.Recipients {
		if owner := p.owner(s, &s.Entry.Recipients[i]); asked[owner] {
			owners[owner] = true
		}
	}
	return owners
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
	if value := s.Identity.Attributes[p.attribute]; p.attribute != "" && value != "" {
		return p.Case.Key(value)
	}
	user := p.Case.Key(s.Identity.User)
	if p.attribute != "" { // who has none is alone
		return byUser + "\x00" + user
	}
	return user
}

// take takes n of a resource from the owner's bucket of each level, or from none; peek only looks. rcpt is for whom, if that is one recipient.
func (p *RateLimit) take(ctx context.Context, s *caddymsa.Submission, resource, owner, rcpt string, n int64, peek bool) error {
	if n == 0 {
		return nil
	}
	var wanted []want
	for _, l := range p.levels {
		r, limited, err := l.rate(resource, s, p.Burst)
		switch {
		case err != nil:
			return err
		case !limited:
		case r.limit == 0:
			return nothing(resource)
		case n > r.burst: // it never fits
			return &caddymsa.Refusal{Code: 552, Status: smtp.EnhancedCode{5, 3, 4}, Rule: resource,
				Text: fmt.Sprintf("Too much at once: %d %s, where %d are allowed", n, resource, r.burst)}
		default:
			wanted = append(wanted, want{rate: r, key: l.prefix + resource + "\x00" + owner, cost: r.cost(n)})
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	drawn, full, err := p.draw(ctx, s, wanted, peek)
	if err != nil {
		return err
	}
	if full == nil {
		if !peek {
			p.taken(s).add(resource, owner, rcpt, drawn)
		}
		return nil
	}
	refusal := &caddymsa.Refusal{Code: 450, Status: smtp.EnhancedCode{4, 7, 1}, Rule: resource,
		Text: fmt.Sprintf("Too many %s: %d in %v are allowed, come back in %.0f s", resource, full.limit, short(full.window), math.Ceil(full.wait.Seconds()))}
	if p.Reject {
		refusal.Code, refusal.Status = 550, smtp.EnhancedCode{5, 7, 1}
	}
	return refusal
}

// nothing refuses a user of whom the backend says that there may be none.
func nothing(resource string) error {
	return &caddymsa.Refusal{Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: resource, Text: "No " + resource + " are allowed"}
}

// checkMessage checks the amounts of one message. What is refused at the end of data is refused to all recipients, and would be again.
func (p *RateLimit) checkMessage(s *caddymsa.Submission, resource string, n int64, atEnd bool) error {
	most, limited, err := p.perMessage[resource].Of(s.Identity.User, s.Identity.Attributes)
	switch {
	case err != nil:
		return err
	case !limited:
		return nil
	case most == 0:
		return nothing(resource)
	case n <= most:
		return nil
	case resource == recipients && atEnd:
		return &caddymsa.Refusal{Code: 550, Status: smtp.EnhancedCode{5, 5, 3}, Rule: "per_message",
			Text: fmt.Sprintf("Too many recipients: a message may have %d, send it to fewer at a time", most)}
	case resource == recipients:
		return &caddymsa.Refusal{Code: 452, Status: smtp.EnhancedCode{4, 5, 3}, Rule: "per_message",
			Text: fmt.Sprintf("Too many recipients: a message may have %d, send the rest in another transaction", most)}
	}
	return &caddymsa.Refusal{Code: 552, Status: smtp.EnhancedCode{5, 3, 4}, Rule: "per_message",
		Text: fmt.Sprintf("Message of %d octets is too large: %d are allowed", n, most)}
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
