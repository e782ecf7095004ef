package mailaddr

import (
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// ValidDomain checks a domain or an address literal as it stands in EHLO (RFC
// 5321 section 4.1.1.1). A single label passes, and so does a bare IPv4
// address, which is a domain by its grammar: many clients know no better name.
// U-labels pass when utf8 is true. The error is an ErrSyntax.
func ValidDomain(domain string, utf8 bool) error {
	return validDomain(domain, utf8)
}

// ASCIIDomain returns a domain in the form for comparisons: lower-case A-labels
// (RFC 5890), address literals in their shortest spelling, "" for "". An ASCII
// domain is only lower-cased: its A-labels are not looked into. The error is an
// ErrSyntax.
func ASCIIDomain(domain string) (string, error) {
	switch {
	case domain == "":
		return "", nil
	case domain[0] == '[':
		addr, err := literal(domain)
		if err != nil {
			return "", err
		}
		return formatLiteral(domain, addr), nil
	case isASCII(domain):
		return strings.ToLower(domain), nil
	case len(domain) > maxDomain: // Punycode takes the square of it
		return "", errDomainLong
	}
	ascii, err := toASCII.ToASCII(domain)
	// A mapped full stop (U+3002 ...) would cut labels that SMTP does not see.
	if err != nil || strings.Count(ascii, ".") != strings.Count(domain, ".") {
		return "", errDomainIDN
	}
	return ascii, nil
}

// DomainOf returns the domain, in the form that Address.ASCIIDomain gives, of a mailbox that Parse has
// taken before, such as one in a spool; empty for the null path and for "Postmaster". It costs a
// fraction of parsing it again.
func DomainOf(mailbox string) string {
	at := strings.LastIndexByte(mailbox, '@')
	if at < 0 {
		return ""
	}
	domain := mailbox[at+1:]
	for i := range len(domain) {
		if c := domain[i]; c >= 'A' && c <= 'Z' || c >= 0x80 || c == '[' {
			return Address{Domain: domain}.ASCIIDomain()
		}
	}
	return domain
}

// toASCII is idna.Lookup with the DNS's limits of length: UTS 46 non-transitional.
var toASCII = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.BidiRule(),
	idna.CheckJoiners(true),
	idna.StrictDomainName(true),
	idna.VerifyDNSLength(true),
)

// domainLen returns how many octets of s can belong to a domain: up to and
// with "]" for a literal, else up to the first octet that ends a path.
func domainLen(s string) int {
	if s != "" && s[0] == '[' {
		if end := strings.IndexByte(s, ']'); end >= 0 {
			return end + 1
		}
		return len(s)
	}
	for i := range len(s) {
		if s[i] == '>' || s[i] == ' ' {
			return i
		}
	}
	return len(s)
}

// qualified tells a valid domain that can be routed to from one that cannot.
func qualified(domain string) error {
	if domain[0] == '[' {
		return nil
	}
	dot := strings.LastIndexByte(domain, '.')
	if dot < 0 {
		return errSingleLabel
	}
	top := domain[dot+1:]
	if !isASCII(top) {
		top, _ = ASCIIDomain(top) // digits of other scripts become ASCII ones
	}
	// RFC 1123 section 2.1: no top-level label is all digits.
	if strings.Trim(top, "0123456789") == "" {
		return errDomainNumber
	}
	return nil
}

func validDomain(domain string, utf8 bool) error {
	if domain == "" {
		return errDomainEmpty
	}
	if len(domain) > maxDomain {
		return errDomainLong
	}
	if domain[0] == '[' {
		_, err := literal(domain)
		return err
	}
	start, ascii := 0, true
	for i := 0; i < len(domain); i++ {
		switch c := domain[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-':
			if i == start || i+1 == len(domain) || domain[i+1] == '.' {
				return errLabelHyphen
			}
		case c == '.':
			if err := labelLen(i-start, ascii); err != nil {
				return err
			}
			start = i + 1
		case c >= 0x80:
			size, err := nonASCII(domain[i:], utf8)
			if err != nil {
				return err
			}
			i, ascii = i+size-1, false
		case c < ' ' || c == 0x7f:
			return errControl
		default:
			return errDomainChar
		}
	}
	if err := labelLen(len(domain)-start, ascii); err != nil {
		return err
	}
	if !ascii { // the limits then hold for the A-labels
		_, err := ASCIIDomain(domain)
		return err
	}
	return nil
}

func labelLen(n int, ascii bool) error {
	switch {
	case n == 0:
		return errLabelEmpty
	case n > maxLabel && ascii:
		return errLabelLong
	}
	return nil
}

// literal parses an address literal (RFC 5321 section 4.1.3). Of the tagged
// ones only IPv6 is registered. Leading zeros are refused: readers disagree on
// what they mean.
func literal(s string) (netip.Addr, error) {
	if len(s) < 2 || s[len(s)-1] != ']' {
		return netip.Addr{}, errLiteral
	}
	s = s[1 : len(s)-1]
	tagged := len(s) >= len(tagIPv6) && strings.EqualFold(s[:len(tagIPv6)], tagIPv6)
	if tagged {
		s = s[len(tagIPv6):]
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" || addr.Is6() != tagged {
		return netip.Addr{}, errLiteral
	}
	return addr, nil
}

// formatLiteral returns the canonical literal for addr: s itself where that is
// spelled so.
func formatLiteral(s string, addr netip.Addr) string {
	if addr.Is4() {
		return s // without leading zeros there is but one spelling
	}
	if canonical := "[" + tagIPv6 + addr.String() + "]"; canonical != s {
		return canonical
	}
	return s
}

const tagIPv6 = "IPv6:"
