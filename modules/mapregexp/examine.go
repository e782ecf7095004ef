package mapregexp

import (
	"context"
	"regexp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner. Rules are in the configuration, and were compiled when it was loaded: what is left to
// find is a rule that does nothing, as far as that can be said of regular expressions.
func (m *Regexp) Examine(_ context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("address maps", x.Subject)
	for _, direction := range []struct {
		name  string
		rules []Rule
	}{{"actual", m.Actuals}, {"logical", m.Logicals}} {
		for i, r := range direction.rules {
			if before := r.hidden(direction.rules[:i]); before != nil {
				n.Warn("put the rule before that one, or take it out: the first rule that matches decides",
					"%s %s is never reached: the rule %s before it matches all that it matches", direction.name, r.Pattern, before.Pattern)
			}
		}
	}
	for _, c := range m.chained() {
		n.Warn("have the first rule make the address that is meant in the end: an address is translated once", "actual %s makes an address that actual %s matches, and that stays as it is", c.first.Pattern, c.second.Pattern)
	}
	if n.Clean() {
		n.OK("it has %d rules for recipients and %d for senders", len(m.Actuals), len(m.Logicals))
	}
	return n.Findings
}

// hidden returns the rule of those before this one that matches everything that this one does: one with the same pattern,
// or one that matches the only address that this one matches. Nil does not say that there is none.
func (r *Rule) hidden(before []Rule) *Rule {
	only, literal := regexp.MustCompile(r.Pattern).LiteralPrefix()
	for i := range before {
		if b := &before[i]; b.Pattern == r.Pattern || literal && b.re.MatchString(only) {
			return b
		}
	}
	return nil
}

// chain is a rule whose output another one would match.
type chain struct{ first, second *Rule }

// chained finds rules for recipients whose output another one would match, as far as can be said.
func (m *Regexp) chained() (all []chain) {
	for i := range m.Actuals {
		output := m.Actuals[i].sample()
		if output == "" {
			continue
		}
		for j := range m.Actuals {
			if m.Actuals[j].re.MatchString(output) {
				all = append(all, chain{&m.Actuals[i], &m.Actuals[j]})
			}
		}
	}
	return all
}

// Interface guard
var _ caddymsa.Examiner = (*Regexp)(nil)
