// Package mailaddr parses and compares mailboxes as they stand in SMTP
// commands (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
//
// An address is never rewritten: its exact spelling is kept beside the parsed
// form. Policies compare the parsed form, delivery sends the exact one.
package mailaddr

import (
	"strings"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// Address is a mailbox as it stood on the wire next to its parsed form. The
// zero value is the null path "<>".
type Address struct {
	// Exact is the address as spelled, without angle brackets.
	Exact string

	// Local is the local part with quoting removed: `"a b"@x.org` has `a b`.
	Local string

	// Domain is the domain as spelled, or an address literal with its
	// brackets, "[192.0.2.1]". It is empty for the null path and for
	// "<Postmaster>".
	Domain string
}

// IsNull reports whether a is the null path "<>" (RFC 5321 section 4.5.5).
func (a Address) IsNull() bool { return a == Address{} }

// IsPostmaster reports whether a is "<Postmaster>" without a domain, in any
// case (RFC 5321 section 4.5.1). It is false for postmaster@example.org.
func (a Address) IsPostmaster() bool {
	return a.Domain == "" && strings.EqualFold(a.Local, postmaster)
}

// String returns the address as spelled.
func (a Address) String() string { return a.Exact }

// ASCIIDomain returns the domain in the one form that comparisons use: lower
// case A-labels, or a normalised address literal. It is empty when a has no
// domain. It allocates only where the spelling differs from that form.
func (a Address) ASCIIDomain() string {
	d, err := ASCIIDomain(a.Domain)
	if err != nil { // only an Address that was not parsed gets here
		return strings.ToLower(a.Domain)
	}
	return d
}

// NeedsUTF8 reports whether a can only travel with SMTPUTF8 (RFC 6531).
func (a Address) NeedsUTF8() bool { return !isASCII(a.Exact) }

// Key returns the local part in lower case, "@" and the ASCIIDomain. Two addresses are equal if and
// only if their keys are: case, quoting and the spelling of the domain do not count. (RFC 5321
// section 2.4 lets a host tell Bob from bob; hosts that do are hardly found.) The key of the null
// path is "@", that of "<Postmaster>" is "postmaster@".
func (a Address) Key() string { return a.KeyCase(names.Folded) }

// KeyCase is Key where local parts compare as c says.
func (a Address) KeyCase(c names.Case) string {
	if a.IsPostmaster() {
		return postmaster + "@"
	}
	return c.Key(a.Local) + "@" + a.ASCIIDomain()
}

// Equal reports whether a and b are the same mailbox, as their keys tell.
func Equal(a, b Address) bool {
	if a == b {
		return true
	}
	if a.Domain == "" || b.Domain == "" {
		return a.IsPostmaster() && b.IsPostmaster()
	}
	return names.Same(a.Local, b.Local) && a.ASCIIDomain() == b.ASCIIDomain()
}

const postmaster = "postmaster"

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
