package app

import (
	"cmp"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/tally"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What happened lately, in this process whatever configurations came and went.
var (
	rates    tally.Rates
	refusals tally.Refusals
)

// tallyRefusal keeps a refusal for the operator.
func (s *session) tallyRefusal(srv *Server, r *refusal, rule string) {
	now := time.Now()
	if r.isOfMail() || r.moment == "AUTH" {
		rates.Count(now, tally.Refused, 1)
	}
	kept := adminapi.Refusals{Server: srv.name, User: r.user, Stranger: s.login == nil, Moment: r.moment, Rule: cmp.Or(rule, r.policy),
		Helo: s.client.Helo(), Reply: caddymsa.ReplyText(r.reply), Cause: queue.OneLine(r.cause)}
	if s.login != nil {
		kept.User = s.login.identity.User
	}
	if s.ip.IsValid() {
		kept.IP, kept.Network = s.ip.String(), caddymsa.ClientNetwork(s.ip).String()
	}
	refusals.Add(now, kept)
}

// tallyAttempt counts what became of recipients.
func tallyAttempt(a *queue.Attempt) {
	if a.Copy != "" {
		return
	}
	now := time.Now()
	for _, r := range a.Results {
		switch r.Outcome {
		case queue.OutcomeDelivered:
			rates.Count(now, tally.Delivered, 1)
		case queue.OutcomeDeferred:
			rates.Count(now, tally.Deferred, 1)
		case queue.OutcomeFailed:
			rates.Count(now, tally.Failed, 1)
		}
	}
}
