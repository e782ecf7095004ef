// Package xtext is the encoding of RFC 3461, section 4, that the values of ENVID, ORCPT and
// AUTH are in.
package xtext

import (
	"errors"
	"fmt"
	"strings"
)

var errMalformed = errors.New("malformed xtext")

// Encode writes what is not a printable ASCII character, "+" and "=" as "+" and two hexadecimal digits.
func Encode(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// Decode undoes Encode. Digits are in upper case, as the RFC has them; everything but "+" stands
// for itself.
func Decode(s string) (string, error) {
	if !strings.Contains(s, "+") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errMalformed
		}
		high, low := digit(s[i+1]), digit(s[i+2])
		if high < 0 || low < 0 {
			return "", errMalformed
		}
		b = append(b, byte(high<<4|low))
		i += 2
	}
	return string(b), nil
}

func digit(c byte) int { return strings.IndexByte("0123456789ABCDEF", c) }
