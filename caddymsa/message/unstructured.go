package message

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLine and FoldAt are how long lines may be, and should be (RFC 5322 section 2.1.1), without CRLF.
const (
	MaxLine = 998
	FoldAt  = 78
)

// Unstructured writes a field (RFC 5322 section 2.2.1). No value can end it: control
// characters are spaces. It is folded between words; where these cannot stand as they are, or are
// too long for a line, the value is encoded.
func Unstructured(name, value string, smtputf8 bool) string {
	value = strings.ToValidUTF8(value, string(utf8.RuneError))
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || unicode.IsControl(r) })
	for _, w := range words {
		ascii := !strings.ContainsFunc(w, func(r rune) bool { return r >= utf8.RuneSelf })
		if !ascii && !smtputf8 || len(w) >= MaxLine || strings.HasPrefix(w, "=?") {
			words = encodeWords(strings.Join(words, " "))
			break
		}
	}
	var b strings.Builder
	b.WriteString(name + ":")
	length := b.Len() // of the line
	for i, w := range words {
		if i > 0 && length+1+len(w) > FoldAt || length+1+len(w) > MaxLine {
			b.WriteString("\r\n")
			length = 0
		}
		b.WriteString(" " + w)
		length += 1 + len(w)
	}
	b.WriteString("\r\n")
	return b.String()
}

// perWord is how many octets an encoded word of 75 characters holds (RFC 2047 section 2).
const perWord = 45

// encodeWords makes encoded words, none of which cuts a character in two (RFC 2047 section 5).
func encodeWords(s string) (words []string) {
	for s != "" {
		n := min(perWord, len(s))
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return words
}
