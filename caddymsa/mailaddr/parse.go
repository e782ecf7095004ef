package mailaddr

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits in octets (RFC 5321 section 4.5.3.1; a mailbox is a path of 256
// without its brackets).
const (
	maxLocal   = 64
	maxDomain  = 255
	maxLabel   = 63
	maxMailbox = 254
)

// Parse parses a mailbox "local@domain" without angle brackets. Non-ASCII is
// allowed when utf8 is true (RFC 6531). The error is an ErrSyntax or an
// ErrNotQualified, and the address is then the zero value.
func Parse(s string, utf8 bool) (Address, error) {
	if s == "" {
		return Address{}, errEmpty
	}
	a, rest, err := mailbox(s, utf8)
	switch {
	case err != nil:
		return Address{}, err
	case rest != "":
		return Address{}, trailing(rest, utf8)
	case a.Domain == "":
		return Address{}, errNoDomain
	}
	return a, nil
}

// ParsePath parses what follows "FROM:" or "TO:": a mailbox in angle brackets,
// after any spaces. rest is what follows the ">": empty, or a space and the
// parameters. "<>" and "<Postmaster>" are accepted; the caller decides which
// is legal where.
func ParsePath(s string, utf8 bool) (addr Address, rest string, err error) {
	// Not in RFC 5321's grammar, but many clients write "MAIL FROM: <a@b>".
	s = strings.TrimLeft(s, " ")
	if s == "" || s[0] != '<' {
		return Address{}, "", errBracket
	}
	s = s[1:]
	switch {
	case s == "":
		return Address{}, "", errBracketEnd
	case s[0] == '@':
		return Address{}, "", errRoute
	case s[0] == '>':
		rest = s[1:]
	default:
		addr, rest, err = mailbox(s, utf8)
		switch {
		case err != nil:
			return Address{}, "", err
		case rest == "":
			return Address{}, "", errBracketEnd
		case rest[0] != '>':
			return Address{}, "", trailing(rest, utf8)
		case addr.Domain == "" && !strings.EqualFold(addr.Exact, postmaster):
			return Address{}, "", errNoDomain
		}
		rest = rest[1:]
	}
	if rest != "" && rest[0] != ' ' {
		return Address{}, "", errAfterPath
	}
	return addr, rest, nil
}

// mailbox parses a mailbox at the start of s and returns what follows it. The
// domain is empty if no "@" follows the local part.
func mailbox(s string, utf8 bool) (a Address, rest string, err error) {
	var n int
	if s[0] == '"' {
		a.Local, n, err = quotedString(s, utf8)
	} else {
		a.Local, n, err = dotString(s, utf8)
	}
	if err != nil {
		return Address{}, "", err
	}
	if n > maxLocal {
		return Address{}, "", errLocalLong
	}
	if n == len(s) || s[n] != '@' {
		a.Exact = s[:n]
		return a, s[n:], nil
	}
	end := n + 1 + domainLen(s[n+1:])
	a.Exact, a.Domain = s[:end], s[n+1:end]
	if err := validDomain(a.Domain, utf8); err != nil {
		return Address{}, "", err
	}
	if err := qualified(a.Domain); err != nil {
		return Address{}, "", err
	}
	if len(a.Exact) > maxMailbox {
		return Address{}, "", errLong
	}
	return a, s[end:], nil
}

// dotString parses a Dot-string and returns it with its length.
func dotString(s string, utf8 bool) (local string, n int, err error) {
	dot := true // at the start, or behind a dot
	for n < len(s) {
		c := s[n]
		switch {
		case isAtext(c):
			n, dot = n+1, false
			continue
		case c == '.' && !dot:
			n, dot = n+1, true
			continue
		case c == '.':
			return "", 0, errLocalDot
		case c >= 0x80:
			size, err := nonASCII(s[n:], utf8)
			if err != nil {
				return "", 0, err
			}
			n, dot = n+size, false
			continue
		}
		break
	}
	switch {
	case n > 0 && dot:
		return "", 0, errLocalDot
	case n == 0 && s[0] == '@':
		return "", 0, errLocalEmpty
	case n == 0:
		return "", 0, errLocal
	}
	return s[:n], n, nil
}

// quotedString parses a Quoted-string and returns what it stands for, and its
// length as spelled.
func quotedString(s string, utf8 bool) (local string, n int, err error) {
	escaped := false
	for n = 1; n < len(s); n++ {
		switch c := s[n]; {
		case c == '"':
			local = s[1:n]
			if escaped {
				local = unescape(local)
			}
			return local, n + 1, nil
		case c == '\\': // quoted-pairSMTP: followed by printable ASCII only
			n++
			if n == len(s) {
				return "", 0, errQuoteEnd
			}
			if s[n] < ' ' || s[n] > '~' {
				return "", 0, errQuoted
			}
			escaped = true
		case c >= 0x80:
			size, err := nonASCII(s[n:], utf8)
			if err != nil {
				return "", 0, err
			}
			n += size - 1
		case c < ' ' || c == 0x7f:
			return "", 0, errControl
		}
	}
	return "", 0, errQuoteEnd
}

func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// nonASCII returns the length of the UTF8-non-ascii character that s begins
// with (RFC 6531 section 3.3). Controls and line separators are refused.
func nonASCII(s string, allowed bool) (int, error) {
	if !allowed {
		return 0, errNeedsUTF8
	}
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && size == 1:
		return 0, errUTF8
	case unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
		return 0, errControl
	}
	return size, nil
}

// trailing says what is wrong with the first octet that can not go on.
func trailing(s string, utf8 bool) error {
	switch c := s[0]; {
	case c < ' ' || c == 0x7f:
		return errControl
	case c >= 0x80:
		if _, err := nonASCII(s, utf8); err != nil {
			return err
		}
	}
	return errLocal
}

// isAtext reports whether c is atext (RFC 5322 section 3.2.3).
func isAtext(c byte) bool { return c < 0x80 && atext[c] }

var atext = func() (t [0x80]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("!#$%&'*+-/=?^_`{|}~", byte(c)) >= 0
	}
	return t
}()
