package policyrecipients

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
)

// try submits to recipients and says which rules refused some of them.
func try(p *Recipients, user string, attributes map[string]string, to ...string) (rules []string) {
	s := msatest.NewSubmission(user, user+"@example.org")
	s.Identity.Attributes = attributes
	for _, address := range to {
		r := queue.Recipient{Address: address}
		err := p.CheckRecipient(context.Background(), s, &r)
		switch refusal, ok := errors.AsType[*caddymsa.Refusal](err); {
		case ok:
			rules = append(rules, refusal.Rule)
		case err != nil:
			rules = append(rules, err.Error())
		default:
			s.Entry.Recipients = append(s.Entry.Recipients, r)
		}
	}
	s.End(true)
	return rules
}

// Amounts and permissions are the user's own.
func TestTariff(t *testing.T) {
	p := open(t, &Recipients{
		Name: t.Name(), MaxPerMessage: "{msa.identity.attributes.rcpts} 1", MaxPerDay: "{msa.identity.attributes.per_day} 2",
		Allow: []string{"example.net", "{msa.identity.attributes.partners}"}, Deny: []string{"{msa.identity.attributes.never}"},
	})
	gold := map[string]string{"rcpts": "3", "per_day": "4", "partners": "example.com, *.example.com boss@example.org", "never": "x@example.net"}
	for _, tt := range []struct {
		user       string
		attributes map[string]string
		to         []string
		want       string
	}{
		{"bronze", nil, []string{"a@example.net", "b@example.net"}, "[max_per_message]"},
		{"bronze", nil, []string{"a@example.com"}, "[allow]"},
		{"bronze", nil, []string{"a@example.net"}, "[]"},
		{"bronze", nil, []string{"a@example.net"}, "[max_per_day]"},
		{"gold", gold, []string{"a@example.com", "x@example.net", "b@sub.example.com", "boss@example.org"}, "[deny]"},
		{"gold", gold, []string{"a@example.net", "b@example.net"}, "[max_per_day]"},
		{"barred", map[string]string{"per_day": "0"}, []string{"a@example.net"}, "[max_per_day]"},
		{"odd", map[string]string{"partners": "a@b@c"}, []string{"a@example.com"}, `[allow: attribute partners of the user: pattern "a@b@c"`},
	} {
		if got := fmt.Sprint(try(p, tt.user, tt.attributes, tt.to...)); got != tt.want && (tt.user != "odd" || len(got) < len(tt.want) || got[:20] != tt.want[:20]) {
			t.Errorf("%+v: %s", tt, got)
		}
	}
	for _, bad := range []*Recipients{{Allow: []string{"{msa.user}"}}, {MaxPerDay: "{msa.user}"}, {MaxPerMessage: "x"}} {
		if err := bad.Provision(msatest.Context(t)); err == nil {
			t.Errorf("%+v", bad)
		}
	}
}

// What is left of a day, for this node and for all that share the count.
func TestQuotas(t *testing.T) {
	for _, shared := range []bool{false, true} {
		p := &Recipients{Name: fmt.Sprint(t.Name(), shared), MaxPerDay: "{msa.identity.attributes.per_day} 5", MaxPerMessage: "3"}
		counter := new(msatest.MemCounter)
		if shared {
			p.Spool = &sharing.Spool{}
		}
		open(t, p)
		ask := func(attributes map[string]string) (all []counts.Quota) {
			s := msatest.NewSubmission("alice", "")
			s.Identity.Attributes, s.Counter = attributes, counter
			return p.Quotas(context.Background(), s)
		}
		s := msatest.NewSubmission("alice", "")
		s.Counter = counter
		for range 2 {
			r := queue.Recipient{Address: "bob@example.net"}
			if err := p.CheckRecipient(context.Background(), s, &r); err != nil {
				t.Fatal(err)
			}
			s.Entry.Recipients = append(s.Entry.Recipients, r)
		}
		s.End(true)
		for range 2 {
			if all := ask(nil); len(all) != 2 || all[0].Left != 3 || all[0].Allowed != 5 || all[0].Per != "day" || all[0].Back.IsZero() || all[1].Left != 3 || all[1].Per != "message" {
				t.Errorf("shared %v: %+v", shared, all)
			}
		}
		if all := ask(map[string]string{"per_day": "unlimited"}); !all[0].Unlimited {
			t.Errorf("%+v", all)
		}
		if all := ask(map[string]string{"per_day": "1"}); all[0].Left != 0 || all[0].Allowed != 1 {
			t.Errorf("%+v", all)
		}
	}
}
