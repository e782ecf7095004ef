package mailaddr

import (
	"fmt"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// Pattern is a set of mailboxes, as an identity's addresses are written:
//
//	a@example.org     that mailbox, and a+anything@example.org
//	@example.org      every mailbox of exactly this domain
//	*@example.org     the same
//	@*.example.org    every mailbox of every subdomain, at any depth
//	*@*.example.org   the same
//
// Local parts compare without regard to case (RFC 5321 section 2.4 leaves that to whose mailboxes
// they are), domains as lower-case A-labels. The zero value matches nothing.
type Pattern struct {
	text   string
	local  string
	folded string // local
	any    bool   // any local part
	domain DomainPattern
}

// ParsePattern parses one of the forms above.
func ParsePattern(s string) (Pattern, error) {
	if domain, ok := strings.CutPrefix(strings.TrimPrefix(s, "*"), "@"); ok {
		d, err := parseDomain(domain)
		if err == nil && (d.any || !d.literal() && qualified(d.domain) != nil) {
			err = errSingleLabel
		}
		if err != nil {
			return Pattern{}, fmt.Errorf("address pattern %q: %w", s, err)
		}
		return Pattern{text: s, any: true, domain: d}, nil
	}
	p, err := MailboxPattern(s)
	if err != nil {
		if d, derr := parseDomain(s); derr == nil && !d.any && !d.literal() && qualified(d.domain) == nil {
			err = fmt.Errorf("%w; every address of it is @%s", err, s)
		}
	}
	return p, err
}

// MailboxPattern is the set of one mailbox and its plus-addresses: what a name that somebody else
// gave to a user, or wrote into a certificate, may stand for.
func MailboxPattern(s string) (Pattern, error) {
	a, err := Parse(s, true)
	if err != nil {
		return Pattern{}, fmt.Errorf("address pattern %q: %w", s, err)
	}
	return Pattern{text: s, local: a.Local, folded: names.Fold(a.Local), domain: DomainPattern{text: a.Domain, domain: a.ASCIIDomain()}}, nil
}

// Match reports whether a is in the set. The null path and "<Postmaster>"
// without a domain are in none.
func (p Pattern) Match(a Address) bool { return p.MatchCase(a, names.Folded) }

// MatchCase is Match where local parts compare as c says.
func (p Pattern) MatchCase(a Address, c names.Case) bool {
	if a.Domain == "" || !p.any && !p.matchLocal(a.Local, c) {
		return false
	}
	return p.domain.Match(a.ASCIIDomain())
}

func (p Pattern) matchLocal(local string, c names.Case) bool {
	want := p.folded
	if c == names.Exact {
		want = p.local
	}
	rest, ok := strings.CutPrefix(c.Key(local), want)
	// With p.local empty (`""@example.org`) "+x" would be a plus-address of nobody.
	return ok && (rest == "" || rest[0] == '+' && want != "")
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// DomainPattern is a set of domains, as matchers are written:
//
//	example.org       that domain
//	*.example.org     its subdomains at any depth, not itself
//	*                 every domain
//
// U-labels and A-labels mean the same. An address literal stands for itself.
// The zero value matches nothing.
type DomainPattern struct {
	text   string
	domain string // ASCIIDomain form, without "*."
	sub    bool
	any    bool
}

// ParseDomainPattern parses one of the forms above. A single label such as
// "localhost" is accepted.
func ParseDomainPattern(s string) (DomainPattern, error) {
	p, err := parseDomain(s)
	if err != nil {
		return DomainPattern{}, fmt.Errorf("domain pattern %q: %w%s", s, err, domainRemedy(s))
	}
	return p, nil
}

// domainRemedy says what is written in the place of an address, and of .example.org, which is how other programs write subdomains.
func domainRemedy(s string) string {
	domain := s[strings.LastIndexByte(s, '@')+1:]
	if _, err := parseDomain(domain); err == nil {
		return "; a domain is expected here, as in " + domain
	}
	domain = "*." + strings.TrimLeft(s, "*.")
	if _, err := parseDomain(domain); err == nil && domain != s {
		return "; subdomains are written as in " + domain
	}
	return ""
}

func parseDomain(s string) (DomainPattern, error) {
	if s == "*" {
		return DomainPattern{text: s, any: true}, nil
	}
	domain, sub := strings.CutPrefix(s, "*.")
	err := validDomain(domain, true)
	if err == nil && sub && domain[0] == '[' {
		err = errLiteral
	}
	if err != nil {
		return DomainPattern{}, err
	}
	ascii, err := ASCIIDomain(domain)
	return DomainPattern{text: s, domain: ascii, sub: sub}, err
}

// Match reports whether the domain is in the set. It wants the form that
// Address.ASCIIDomain gives; the empty one, of the null path, is in none.
func (p DomainPattern) Match(asciiDomain string) bool {
	switch {
	case asciiDomain == "" || p.text == "":
		return false
	case p.any:
		return true
	case p.sub:
		n := len(asciiDomain) - len(p.domain) - 1
		return n > 0 && asciiDomain[n] == '.' && asciiDomain[n+1:] == p.domain
	}
	return asciiDomain == p.domain
}

// Key returns the one form of all patterns that mean the same: the domain as Address.ASCIIDomain
// gives it, behind "*." for its subdomains; "*" for every domain.
func (p DomainPattern) Key() string {
	switch {
	case p.any:
		return "*"
	case p.sub:
		return "*." + p.domain
	}
	return p.domain
}

// String returns the pattern as it was written.
func (p DomainPattern) String() string { return p.text }

func (p DomainPattern) literal() bool { return strings.HasPrefix(p.domain, "[") }
