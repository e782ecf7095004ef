package app

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// toRecipient matches one address; without one nothing.
type toRecipient string

func (m toRecipient) Match(_ *queue.Entry, r *queue.Recipient) (bool, error) {
	return r.Address == string(m), nil
}
func (toRecipient) Moment() caddymsa.Moment { return caddymsa.MomentRecipient }

// byUser matches a user.
type byUser string

func (m byUser) Match(e *queue.Entry, _ *queue.Recipient) (bool, error) {
	return e.User == string(m), nil
}
func (byUser) Moment() caddymsa.Moment { return caddymsa.MomentConnection }

// What is told of a fact: this server's, of the kinds that are wanted, and of those recipients that match.
func TestChoose(t *testing.T) {
	config := func(set func(c *NotifyConfig)) *NotifyConfig {
		c := &NotifyConfig{srv: &Server{name: "msa.example.org"}, on: map[journal.Kind]bool{journal.Delivered: true, journal.Held: true}, log: zap.NewNop()}
		if set != nil {
			set(c)
		}
		return c
	}
	fact := func(set func(f *journal.Fact)) *journal.Fact {
		f := &journal.Fact{Time: time.Now(), What: journal.Delivered, ID: "Q1", Server: "msa.example.org", User: "alice", Recipients: []string{"bob@example.net", "carol@example.net"}, Count: 2,
			Visit: &journal.Visit{Lane: "x"}}
		if set != nil {
			set(f)
		}
		return f
	}
	bob := func(c *NotifyConfig) {
		c.matchers, c.byRcpt = matcherSets{{toRecipient("bob@example.net"), byUser("alice")}}, true
	}
	for name, tt := range map[string]struct {
		c    *NotifyConfig
		f    *journal.Fact
		want []string // nil: nothing
	}{
		"all":                    {config(nil), fact(nil), []string{"bob@example.net", "carol@example.net"}},
		"another server":         {config(nil), fact(func(f *journal.Fact) { f.Server = "other.example.org" }), nil},
		"another kind":           {config(nil), fact(func(f *journal.Fact) { f.What = journal.Accepted }), nil},
		"a part":                 {config(bob), fact(nil), []string{"bob@example.net"}},
		"not the user":           {config(bob), fact(func(f *journal.Fact) { f.User = "eve" }), nil},
		"no recipients":          {config(bob), fact(func(f *journal.Fact) { f.What, f.Recipients = journal.Held, nil }), nil},
		"none of them":           {config(bob), fact(func(f *journal.Fact) { f.Recipients = []string{"carol@example.net"} }), nil},
		"by user":                {config(func(c *NotifyConfig) { c.matchers = matcherSets{{byUser("alice")}} }), fact(func(f *journal.Fact) { f.What, f.Recipients = journal.Held, nil }), []string{}},
		"to users, of nobody":    {config(func(c *NotifyConfig) { c.users = new(userIdentities) }), fact(func(f *journal.Fact) { f.User = "" }), nil},
		"to users, about a copy": {config(func(c *NotifyConfig) { c.users = new(userIdentities) }), fact(func(f *journal.Fact) { f.Copy = "archive" }), nil},
		"to users":               {config(func(c *NotifyConfig) { c.users = new(userIdentities) }), fact(nil), []string{"bob@example.net", "carol@example.net"}},
	} {
		e := tt.c.choose(tt.f)
		if (e == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", name, e)
			continue
		}
		if e == nil {
			continue
		}
		if !slices.Equal(e.Fact.Recipients, tt.want) || len(tt.want) == 1 && e.Fact.Count != 1 {
			t.Errorf("%s: %+v", name, e.Fact)
		}
		if tt.c.users != nil && e.Fact.Lane != "" {
			t.Errorf("%s: a user is told of lanes", name)
		}
		if again := tt.c.choose(tt.f); again.ID != e.ID {
			t.Errorf("%s: another id", name)
		}
	}
}
