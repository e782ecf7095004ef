package app

import (
	"cmp"
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// matcherSets match if any of the sets does, or if there are none; a set
// matches if all its matchers do.
type matcherSets [][]caddymsa.Matcher

// loadMatchers loads the field of type []caddy.ModuleMap that struct pointer v has, whose
// matchers must have their answer at the latest moment.
func loadMatchers(ctx caddy.Context, v any, field string, raws []caddy.ModuleMap, latest caddymsa.Moment) (sets matcherSets, err error) {
	var place string
	for _, set := range raws { // which loading empties
		place = cmp.Or(place, places.Of(caddyconfig.JSON(set, nil)))
	}
	defer func() { err = places.At(place, err) }()
	loaded, err := ctx.LoadModule(v, field)
	if err != nil {
		return nil, places.Matcher(err)
	}
	for _, mods := range loaded.([]map[string]any) {
		var set []caddymsa.Matcher
		for name, mod := range mods {
			m, ok := mod.(caddymsa.Matcher)
			if !ok {
				return nil, fmt.Errorf("%s is not a matcher", name)
			}
			if m.Moment() > latest {
				return nil, fmt.Errorf("matcher %s needs the message's content, which a route cannot wait for; use it on a policy", name)
			}
			if _, ok := m.(caddymsa.MessageMatcher); m.Moment() == caddymsa.MomentMessage && !ok {
				return nil, fmt.Errorf("matcher %s needs the message but does not implement MatchMessage", name)
			}
			set = append(set, m)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// moment is the earliest at which all of them can be answered.
func (ms matcherSets) moment() caddymsa.Moment {
	var latest caddymsa.Moment
	for _, set := range ms {
		for _, m := range set {
			latest = max(latest, m.Moment())
		}
	}
	return latest
}

// match asks about a submission whose message is m, or nil before the end of data.
func (ms matcherSets) match(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient, m *caddymsa.Message) (bool, error) {
	return ms.any(func(matcher caddymsa.Matcher) (bool, error) {
		if about, ok := matcher.(caddymsa.MessageMatcher); ok && matcher.Moment() == caddymsa.MomentMessage {
			return about.MatchMessage(ctx, s, r, m)
		}
		return matcher.Match(s.Entry, r)
	})
}

// matchEntry asks about what is stored.
func (ms matcherSets) matchEntry(e *queue.Entry, r *queue.Recipient) (bool, error) {
	return ms.any(func(matcher caddymsa.Matcher) (bool, error) { return matcher.Match(e, r) })
}

// any asks each matcher of each set until one set matches.
func (ms matcherSets) any(ask func(caddymsa.Matcher) (bool, error)) (bool, error) {
	if len(ms) == 0 {
		return true, nil
	}
	for _, set := range ms {
		ok, err := true, error(nil)
		for _, matcher := range set {
			if ok, err = ask(matcher); !ok || err != nil {
				break
			}
		}
		if ok || err != nil {
			return ok && err == nil, err
		}
	}
	return false, nil
}
