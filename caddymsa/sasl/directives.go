package sasl

import "strings"

// parseDirectives reads the comma separated name=value list of DIGEST-MD5
// (RFC 2831 section 7.1) and calls each for every pair, with the name in lower
// case and the value without quotes and escapes. Any value may be quoted or
// not, since clients differ; empty list elements and white space are skipped,
// as the # rule of RFC 2616 section 2.1 says. It stops at each's first error.
func parseDirectives(s string, each func(name, value string) error) error {
	for {
		s = strings.TrimLeft(s, ", \t\r\n")
		if s == "" {
			return nil
		}
		i := 0
		for i < len(s) && isToken(s[i]) {
			i++
		}
		name, rest := s[:i], strings.TrimLeft(s[i:], lws)
		if name == "" || !strings.HasPrefix(rest, "=") {
			return malformed("directive without a name or value")
		}
		value, rest, err := cutValue(strings.TrimLeft(rest[1:], lws))
		if err != nil {
			return err
		}
		if err := each(strings.ToLower(name), value); err != nil {
			return err
		}
		s = strings.TrimLeft(rest, lws)
		if s != "" && s[0] != ',' {
			return malformed("no comma between directives")
		}
	}
}

const lws = " \t\r\n"

// cutValue splits s behind the value that it begins with.
func cutValue(s string) (value, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s[1:])
	}
	i := 0
	// More than a token: clients that do not quote leave "/" and "@" bare.
	for i < len(s) && s[i] > ' ' && s[i] != 0x7f && !strings.ContainsRune(`,"\`, rune(s[i])) {
		i++
	}
	if i == 0 {
		return "", "", malformed("directive without a value")
	}
	return s[:i], s[i:], nil
}

// cutQuoted takes a quoted string whose first quote is off already.
func cutQuoted(s string) (value, rest string, err error) {
	var unescaped strings.Builder
	start := 0 // of what is not in unescaped yet
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if unescaped.Len() == 0 {
				return s[start:i], s[i+1:], nil
			}
			unescaped.WriteString(s[start:i])
			return unescaped.String(), s[i+1:], nil
		case c == '\\':
			unescaped.WriteString(s[start:i])
			i++
			start = i
			if i < len(s) && isControl(s[i]) {
				return "", "", malformed("control character in a directive")
			}
		case isControl(c):
			return "", "", malformed("control character in a directive")
		}
	}
	return "", "", malformed("quoted string has no end")
}

// quote makes a quoted string of s.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func isControl(c byte) bool { return c < 0x20 || c == 0x7f }

// isToken is the token of RFC 2616 section 2.2.
func isToken(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`()<>@,;:\"/[]?={}`, rune(c))
}
