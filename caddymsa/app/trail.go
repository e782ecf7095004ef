package app

import (
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// trail is which policies have looked at a submission, and what they did. It is kept for the journal.
type trail struct {
	looked []look
	index  map[*PolicyConfig]int
	heldBy string
}

type look struct {
	policy string
	did    []string
}

type trailKey struct{}

// begin puts a trail into a submission; policies that look at one without it leave none.
func beginTrail(s *caddymsa.Submission) {
	s.SetValue(trailKey{}, &trail{index: make(map[*PolicyConfig]int)})
}

// trailOf is nil where there is none.
func trailOf(s *caddymsa.Submission) *trail {
	t, _ := s.Value(trailKey{}).(*trail)
	return t
}

// traced runs a policy's check, and notes that it looked and what it did.
func (p *PolicyConfig) traced(s *caddymsa.Submission, m *caddymsa.Message, check func() error) error {
	t := trailOf(s)
	if t == nil {
		return check()
	}
	held, prepended := s.Held, 0
	if m != nil {
		prepended = len(m.Prepended())
	}
	err := check()
	switch {
	case err != nil && p.LogOnly:
		t.note(p, "would have refused, log_only")
	case err != nil:
		t.note(p, "refused")
	default:
		t.note(p, "")
	}
	if m != nil && len(m.Prepended()) > prepended {
		t.note(p, "changed the header")
	}
	switch {
	case s.Held == held || s.Held == "":
	case p.LogOnly: // which undoes it
		t.note(p, "would have held, log_only")
	default:
		t.note(p, "held")
		t.heldBy = p.name
	}
	return err
}

// note adds what a policy did, once.
func (t *trail) note(p *PolicyConfig, did string) {
	i, known := t.index[p]
	if !known {
		i = len(t.looked)
		t.index[p] = i
		t.looked = append(t.looked, look{policy: p.name})
	}
	l := &t.looked[i]
	if did == "" {
		return
	}
	for _, d := range l.did {
		if d == did {
			return
		}
	}
	l.did = append(l.did, did)
}

// policies are the names in the order in which they looked first, each with what it did: "size", "milter: held".
func (t *trail) policies() []string {
	if t == nil {
		return nil
	}
	all := make([]string, len(t.looked))
	for i := range t.looked {
		all[i] = t.looked[i].String()
	}
	return all
}

// did are those of the policies that did something.
func (t *trail) did() (all []string) {
	if t == nil {
		return nil
	}
	for i := range t.looked {
		if len(t.looked[i].did) > 0 {
			all = append(all, t.looked[i].String())
		}
	}
	return all
}

func (l *look) String() string {
	if len(l.did) == 0 {
		return l.policy
	}
	return l.policy + ": " + strings.Join(l.did, ", ")
}
