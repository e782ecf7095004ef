package policyrate

import "github.com/caddy-msa/caddy-msa/caddymsa"

// taken is what a submission has taken; its key is the policy.
type taken struct {
	messages map[string]bool // owners for whom the message counts
	all      []share
}

// share is what was taken for one reason.
type share struct {
	resource, owner string
	rcpt            string // of recipients: which it is
	tokens          []token
}

func (t *taken) add(resource, owner, rcpt string, tokens []token) {
	t.all = append(t.all, share{resource, owner, rcpt, tokens})
}

func (p *RateLimit) taken(s *caddymsa.Submission) *taken {
	if t, ok := s.Value(p).(*taken); ok {
		return t
	}
	t := &taken{messages: make(map[string]bool)}
	s.SetValue(p, t)
	counter := s.Counter
	p.shared.Hold()
	s.OnEnd(func(accepted bool) {
		defer p.shared.Release()
		var back []token
		counts := func(*share) bool { return false }
		if accepted {
			counts = p.counting(s)
		}
		for i := range t.all {
			if !counts(&t.all[i]) {
				back = append(back, t.all[i].tokens...)
			}
		}
		p.giveBack(counter, back)
	})
	return t
}

// counting tells of each share of an accepted message whether it counts: not if somebody behind this policy refused the recipient,
// or all of the recipients' domain.
func (p *RateLimit) counting(s *caddymsa.Submission) func(*share) bool {
	rcpts, owners := make(map[string]int), make(map[string]bool)
	for i := range s.Entry.Recipients {
		r := &s.Entry.Recipients[i]
		rcpts[r.Address]++
		if p.By == byRecipientDomain {
			owners[p.owner(s, r)] = true
		}
	}
	return func(sh *share) bool {
		if sh.resource == recipients {
			rcpts[sh.rcpt]--
			return rcpts[sh.rcpt] >= 0
		}
		return p.By != byRecipientDomain || owners[sh.owner]
	}
}
