// Package enhanced reads enhanced status codes (RFC 3463), which come from next hops, filters, services and configurations.
package enhanced

import (
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"
)

// Parse reads a code such as 5.7.1. Zeros before a number are taken, though RFC 2034 section 4 has none.
func Parse(s string) (code smtp.EnhancedCode, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != len(code) || parts[0] != "2" && parts[0] != "4" && parts[0] != "5" {
		return code, false
	}
	for i, part := range parts {
		if part == "" || len(part) > 3 {
			return smtp.EnhancedCode{}, false
		}
		for _, c := range []byte(part) {
			if c < '0' || c > '9' {
				return smtp.EnhancedCode{}, false
			}
			code[i] = code[i]*10 + int(c-'0')
		}
	}
	return code, true
}

// Cut cuts the code off that a reply's text begins with (RFC 2034); without one, rest is the text.
func Cut(text string) (code smtp.EnhancedCode, rest string, ok bool) {
	word, rest, _ := strings.Cut(text, " ")
	if code, ok = Parse(word); !ok {
		return code, text, false
	}
	return code, rest, true
}

// String writes a code.
func String(c smtp.EnhancedCode) string { return fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2]) }
