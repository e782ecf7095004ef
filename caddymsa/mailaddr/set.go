package mailaddr

import (
	"fmt"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// Set is many patterns of addresses and domains, in which an address is found in a time that
// does not depend on how many there are. The zero value is empty. It is not safe to add to it
// while it is asked.
type Set struct {
	// Case is how local parts compare. It is set before the first Add.
	Case names.Case

	all       bool
	mailboxes map[string]struct{} // keys
	domains   map[string]struct{} // ASCIIDomain
	parents   map[string]struct{} // of which the subdomains are in the set
}

// Add adds a Pattern, or a DomainPattern, which has no "@", as it is written. An asterisk within a local part needs quotes.
func (s *Set) Add(text string) error {
	if !strings.Contains(text, "@") {
		d, err := ParseDomainPattern(text)
		if err == nil {
			s.domain(d)
		}
		return err
	}
	p, err := ParsePattern(text)
	switch {
	case err != nil:
		return err
	case p.any:
		s.domain(p.domain)
	case strings.Contains(p.local, "*") && text[0] != '"': // it would match nobody, and be thought to match many
		return fmt.Errorf("address pattern %q: an asterisk stands for all local parts, *@%s, or for itself in quotes, %s@%s", text, p.domain.text, `"`+p.local+`"`, p.domain.text)
	default:
		add(&s.mailboxes, s.Case.Key(p.local)+"@"+p.domain.domain)
	}
	return nil
}

func (s *Set) domain(d DomainPattern) {
	switch {
	case d.any:
		s.all = true
	case d.sub:
		add(&s.parents, d.domain)
	default:
		add(&s.domains, d.domain)
	}
}

func add(m *map[string]struct{}, key string) {
	if *m == nil {
		*m = make(map[string]struct{})
	}
	(*m)[key] = struct{}{}
}

// Len is how many different patterns there are.
func (s *Set) Len() (n int) {
	if s.all {
		n = 1
	}
	return n + len(s.mailboxes) + len(s.domains) + len(s.parents)
}

// Has reports whether one of the patterns matches a. The null path and "<Postmaster>" without a
// domain are in no set.
func (s *Set) Has(a Address) bool {
	if a.Domain == "" {
		return false
	}
	domain := a.ASCIIDomain()
	if s.HasDomain(domain) {
		return true
	}
	if len(s.mailboxes) == 0 {
		return false
	}
	// A mailbox's pattern has its plus-addresses in it, so each plus may be where the name ends.
	local := s.Case.Key(a.Local)
	for n := len(local); n >= 0; n = strings.LastIndexByte(local[:n], '+') {
		if _, ok := s.mailboxes[local[:n]+"@"+domain]; ok && (n > 0 || local == "") {
			return true
		}
	}
	return false
}

// HasDomain reports whether every mailbox of the domain is in the set. It wants the form that
// Address.ASCIIDomain gives; the empty one, of the null path, is in none.
func (s *Set) HasDomain(asciiDomain string) bool {
	if asciiDomain == "" {
		return false
	}
	if _, ok := s.domains[asciiDomain]; ok || s.all {
		return true
	}
	if len(s.parents) == 0 || asciiDomain[0] == '[' {
		return false
	}
	for rest := asciiDomain; ; {
		_, parent, found := strings.Cut(rest, ".")
		if !found {
			return false
		}
		if _, ok := s.parents[parent]; ok {
			return true
		}
		rest = parent
	}
}
