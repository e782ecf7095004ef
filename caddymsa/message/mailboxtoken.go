package message

import (
	"errors"
	"strings"
)

// token reads the next token, over comments and white space (RFC 5322 section 3.2). Its kind is zero at
// the end.
func (p *mailboxParser) token() (token, error) {
	apart, err := p.space()
	if err != nil || p.rest == "" {
		return token{}, err
	}
	n, kind := 1, p.rest[0]
	switch c := p.rest[0]; {
	case c == escape:
		kind = 'a'
		n, err = shiftedEnd(p.rest)
	case c == '"':
		kind = 'q'
		n, err = quotedEnd(p.rest, '"')
	case c == '[':
		n, err = quotedEnd(p.rest, ']')
	case encodedName(p.rest) > 0:
		n, kind = encodedName(p.rest), 'w'
	case isAtomText(c):
		kind = 'a'
		for n < len(p.rest) && isAtomText(p.rest[n]) && !strings.HasPrefix(p.rest[n:], noBreakSpace) {
			n++
		}
	case c < ' ' || c == 0x7f:
		return token{}, errControl
	case c == ')':
		return token{}, errors.New("a parenthesis closes nothing")
	}
	if err != nil {
		return token{}, err
	}
	t := token{kind: kind, text: p.rest[:n], apart: apart}
	p.rest = p.rest[n:]
	return t, nil
}

// encodedName is the length of an encoded word with a comma or a semicolon in it, which RFC 2047 section 5 has encoded in names and
// programs have not: a piece of a name, since nobody sees an address in it. It is zero if there is none at the beginning.
func encodedName(s string) int {
	if !strings.HasPrefix(s, "=?") {
		return 0
	}
	w, ok := parseWord(s, 0)
	if !ok || !strings.ContainsAny(s[:w.end], ",;") {
		return 0
	}
	for i := range w.end {
		if c := s[i]; c >= 0x80 || c != ',' && c != ';' && c != '.' && !isAtomText(c) {
			return 0
		}
	}
	return w.end
}

var errControl = errors.New("there is a control character")

// noBreakSpace is what is copied out of pages with an address.
const noBreakSpace = "\u00a0"

// space skips white space and comments, which may be nested.
func (p *mailboxParser) space() (apart bool, err error) {
	depth := 0
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '(':
			depth++
		case depth > 0 && c == ')':
			depth--
		case depth > 0 && c == '\\':
			i++
		case c == ' ' || c == '\t':
		case depth == 0 && strings.HasPrefix(p.rest[i:], noBreakSpace):
			i += len(noBreakSpace) - 1
		case c == escape && depth > 0:
			n, err := shiftedEnd(p.rest[i:])
			if err != nil {
				return false, err
			}
			i += n - 1
		case c == escape:
			p.rest = p.rest[i:]
			return i > 0, nil
		case c < ' ' || c == 0x7f:
			return false, errControl
		case depth == 0:
			p.rest = p.rest[i:]
			return i > 0, nil
		}
	}
	if depth > 0 {
		return false, errors.New("a comment is not closed")
	}
	p.rest = ""
	return true, nil
}

// escape begins what is not in ASCII in ISO-2022-JP and its kin (RFC 1468), which devices write as it is.
const escape = '\x1b'

// shiftedEnd returns the length of text in another set of characters: from the sequence that changes to it to the one
// that changes back. Who does not know such sequences must not see an address in it, and sees no other one where nothing but
// the name is unreadable.
func shiftedEnd(s string) (int, error) {
	const change = len("\x1b(B")
	if len(s) < change || s[1] != '$' {
		return 0, errControl
	}
	for i := change; i+change <= len(s); i++ {
		switch back := s[i : i+change]; {
		case back == "\x1b(B" || back == "\x1b(J":
			if strings.Contains(s[:i], "<") || strings.Contains(s[:i], "@") && strings.Contains(s[:i], ".") {
				return 0, errors.New("there is an address in text that is not ASCII")
			}
			return i + change, nil
		case s[i] < ' ' && s[i] != escape || s[i] >= 0x7f:
			return 0, errControl
		}
	}
	return 0, errControl
}

// quotedEnd returns the length of what begins with a quote or bracket and ends with the end.
func quotedEnd(s string, end byte) (int, error) {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == end:
			return i + 1, nil
		case c == '\\' && (i+1 == len(s) || !isControl(s[i+1])):
			i++
		case c == escape:
			n, err := shiftedEnd(s[i:])
			if err != nil {
				return 0, err
			}
			i += n - 1
		case isControl(c):
			return 0, errControl
		}
	}
	if end == '"' {
		return 0, errors.New("quotes are not closed")
	}
	return 0, errors.New("a bracket is not closed")
}

func isControl(c byte) bool { return c < ' ' && c != '\t' && c != escape || c == 0x7f }

// unquote is what a quoted string stands for.
func unquote(s string) string {
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// isAtomText is atext of RFC 5322 section 3.2.3, and any octet over 127.
func isAtomText(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= 0x80:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}
