package message

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

var errDoubt = errors.New("with a name that is not in UTF-8 readers may differ in whose address it is")

// In Shift_JIS, Big5 and GBK the second octet of a character may be that of an @, [, \ or ], and what a field says does
// not tell in which character set its names are. Of a field that is not in UTF-8 each of these behind an octet that is not
// ASCII may be syntax to one reader and half a character to another: it is doubtful.

// doubtful tells whether s[i] is.
func doubtful(s string, i int) bool {
	return i > 0 && s[i-1] >= utf8.RuneSelf && strings.IndexByte(`@[\]`, s[i]) >= 0
}

// withoutDoubt is the value as it is where all that is doubtful is half a character. It is false if nothing is.
func withoutDoubt(value string) (string, bool) {
	if utf8.ValidString(value) {
		return "", false
	}
	var text []byte
	for i := range len(value) {
		if doubtful(value, i) {
			if text == nil {
				text = []byte(value)
			}
			text[i] = 0xff
		}
	}
	return string(text), text != nil
}

// certain tells whether no reader can see another mailbox than those, whatever it takes for syntax: each of them
// stands in angle brackets, as an address that needs nothing else, and beside them there is none.
func certain(value string, all []mailaddr.Address) bool {
	for _, a := range all {
		before, after, ok := strings.Cut(value, "<"+a.Exact+">")
		if !ok || mayHaveAddress(before) || !isPlain(a.Exact) {
			return false
		}
		value = after
	}
	return !mayHaveAddress(value)
}

// mayHaveAddress looks for an @, or for a doubtful one and what may be a domain behind it: words with a dot between, or a colon as
// in a route. Comments may stand anywhere in that.
func mayHaveAddress(s string) bool {
	at, dot, space, last := false, false, false, byte(0)
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '@' && !doubtful(s, i), at && c == ':':
			return true
		case c == ' ' || c == '\t':
			space = true
			continue
		case c == '@':
			at, dot = true, false
		case c == '.':
			dot = true
		case c == ',' || c == ';' || c == '"', isAtomText(c) && space && isAtomText(last): // another word
			at, dot = false, false
		case isAtomText(c) && at && dot:
			return true
		}
		space, last = false, c
	}
	return false
}

// isPlain tells whether an address is of ASCII atoms alone.
func isPlain(exact string) bool {
	for i := range len(exact) {
		if c := exact[i]; c >= utf8.RuneSelf || c != '@' && c != '.' && !isAtomText(c) {
			return false
		}
	}
	return strings.Count(exact, "@") == 1
}
