package caddymsa

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Matcher is a module in the namespace msa.matchers: it says yes or no to a
// submission. It asks only about what is stored with an entry, since routes are
// chosen again at delivery.
type Matcher interface {
	// Match is called concurrently. r is nil before a recipient is known, which
	// a matcher only sees if its Moment says that it can do without.
	Match(e *queue.Entry, r *queue.Recipient) (bool, error)
	// Moment is the earliest at which Match can be answered.
	Moment() Moment
}

// Moment is how far a submission has come.
type Moment int

// Moments of a submission, in order.
const (
	MomentConnection Moment = iota // the client and who it is
	MomentSender                   // MAIL
	MomentRecipient                // RCPT
	MomentMessage                  // the end of data
)

// matcherSets match if any of the sets does, or if there are none; a set
// matches if all its matchers do.
type matcherSets [][]Matcher

// loadMatchers loads the field of type []caddy.ModuleMap that struct pointer v has.
func loadMatchers(ctx caddy.Context, v any, field string) (matcherSets, error) {
	loaded, err := ctx.LoadModule(v, field)
	if err != nil {
		return nil, err
	}
	var sets matcherSets
	for _, mods := range loaded.([]map[string]any) {
		var set []Matcher
		for name, mod := range mods {
			m, ok := mod.(Matcher)
			if !ok {
				return nil, fmt.Errorf("%s is no matcher", name)
			}
			if m.Moment() > MomentRecipient {
				return nil, fmt.Errorf("matcher %s needs the message's content, which routes and policies cannot wait for", name)
			}
			set = append(set, m)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// moment is the earliest at which all of them can be answered.
func (ms matcherSets) moment() Moment {
	var latest Moment
	for _, set := range ms {
		for _, m := range set {
			latest = max(latest, m.Moment())
		}
	}
	return latest
}

func (ms matcherSets) match(e *queue.Entry, r *queue.Recipient) (bool, error) {
	if len(ms) == 0 {
		return true, nil
	}
	for _, set := range ms {
		ok, err := matchAll(set, e, r)
		if ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func matchAll(set []Matcher, e *queue.Entry, r *queue.Recipient) (bool, error) {
	for _, m := range set {
		ok, err := m.Match(e, r)
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}
