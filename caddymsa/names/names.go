// Package names compares names of users and mailboxes as people do: without regard to case.
package names

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold returns the one form of all names that are the same but for their case: lower case, and
// composed characters where there are any (Unicode's NFC). It is how people write the name, so that it serves as a
// path and in questions too: a Greek sigma is final where it ends a word, the German sharp s stays
// one, and only the dotted I becomes i. Folding what is folded changes nothing. Octets that are not UTF-8 stay
// apart from any text.
func Fold(name string) string {
	plain := true
	for i := range len(name) {
		if c := name[i]; c >= 0x80 {
			return foldUnicode(name)
		} else if 'A' <= c && c <= 'Z' {
			plain = false
		}
	}
	if plain {
		return name
	}
	return strings.ToLower(name)
}

// foldUnicode goes on until nothing changes: composing may make a capital letter of what was none.
func foldUnicode(name string) string {
	for range 4 {
		folded := norm.NFC.String(sigma(lower(norm.NFC.String(name))))
		if folded == name {
			break
		}
		name = folded
	}
	return name
}

// lower is strings.ToLower, which would make the same character of all octets that are not UTF-8.
func lower(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := strings.IndexFunc(s, func(r rune) bool { return r == '\ufffd' })
		if n < 0 {
			n = len(s)
		}
		b.WriteString(strings.ToLower(s[:n]))
		if s = s[n:]; s != "" {
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return b.String()
}

// sigma writes each small sigma as its place has it: final at the end of a word, which has another letter before it. Capitals
// do not tell the two apart.
func sigma(s string) string {
	if !strings.ContainsAny(s, "σς") {
		return s
	}
	var b strings.Builder
	before := false // there is a letter before
	for i, r := range s {
		size := utf8.RuneLen(r)
		if r == utf8.RuneError {
			_, size = utf8.DecodeRuneInString(s[i:])
		}
		if r == 'σ' || r == 'ς' {
			next, _ := utf8.DecodeRuneInString(s[i+size:])
			if r = 'σ'; before && !unicode.IsLetter(next) {
				r = 'ς'
			}
			b.WriteRune(r)
		} else {
			b.WriteString(s[i : i+size])
		}
		before = unicode.IsLetter(r)
	}
	return b.String()
}

// Same tells whether two names differ in case at most.
func Same(a, b string) bool { return a == b || Fold(a) == Fold(b) }

// Case is a setting: how names compare.
type Case string

// There are two ways. The zero value is Folded.
const (
	Folded Case = ""      // without regard to case
	Exact  Case = "exact" // octet by octet
)

// UnmarshalText reads the setting: "exact" or "fold".
func (c *Case) UnmarshalText(text []byte) error {
	switch string(text) {
	case "exact":
		*c = Exact
	case "fold", "":
		*c = Folded
	default:
		return fmt.Errorf("%q is not a way to compare names; use fold or exact", text)
	}
	return nil
}

// Key returns what names are compared by.
func (c Case) Key(name string) string {
	if c == Exact {
		return name
	}
	return Fold(name)
}
