package httpsubmit

import (
	"net/textproto"
	"strings"
)

// lineOctets is how long lines of a header are, where its words let them (RFC 5322 section 2.1.1).
const lineOctets = 76

// fold is a field in lines. The library that writes messages folds too, in a time that grows with the square of the value.
func fold(name, value string) []byte {
	b := make([]byte, 0, len(name)+len(value)+len(value)/16+8)
	b = append(append(b, textproto.CanonicalMIMEHeaderKey(name)...), ':')
	line := len(b)
	rest := " " + value
	for first := true; rest != ""; first = false {
		end := len(rest) - len(strings.TrimLeft(rest, " \t"))
		if word := strings.IndexAny(rest[end:], " \t"); word >= 0 {
			end += word
		} else {
			end = len(rest)
		}
		if line+end > lineOctets && !first {
			b, line = append(b, "\r\n"...), 0
		}
		b, line, rest = append(b, rest[:end]...), line+end, rest[end:]
	}
	return append(b, "\r\n"...)
}
