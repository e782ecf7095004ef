package message

import (
	"iter"
	"strings"
)

// param is a parameter of a field as it is written (RFC 2045 section 5.1, RFC 2231).
type param struct {
	name    string // in lower case, without what RFC 2231 puts behind it
	section int    // of a value in several parameters; -1: it is whole
	encoded bool   // it may have a character set and percent signs
	value   string // without quotes
	raw     string // with whatever is written
}

// lenientParams reads parameters as forgiving readers do: nothing is an error, a name may be there many times, and one may be where the
// type should be.
func lenientParams(value string) (all []param) {
	for rest := value; rest != ""; {
		var text string
		text, rest = cutParam(rest)
		name, raw, found := strings.Cut(text, "=")
		if !found {
			continue
		}
		p := param{raw: strings.Trim(raw, " \t")}
		p.name, p.section, p.encoded = paramName(strings.ToLower(strings.Trim(name, " \t")))
		p.value = unquoted(p.raw)
		all = append(all, p)
	}
	return all
}

// cutParam cuts at the next semicolon that is not in quotes.
func cutParam(s string) (before, after string) {
	in := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			in = !in
		case s[i] == '\\' && in:
			i++
		case s[i] == ';' && !in:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// quotedStrings gives what stands in quotes.
func quotedStrings(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for {
			i := strings.IndexByte(s, '"')
			if i < 0 {
				return
			}
			text := unquoted(s[i:])
			if !yield(text) {
				return
			}
			s = s[min(len(s), i+len(text)+2):]
		}
	}
}

// paramName takes "name*1*" apart.
func paramName(s string) (name string, section int, encoded bool) {
	name, rest, starred := strings.Cut(s, "*")
	if !starred {
		return name, -1, false
	}
	rest, encoded = strings.CutSuffix(rest, "*")
	if rest == "" && !encoded {
		return name, -1, true
	}
	for _, c := range []byte(rest) {
		if c < '0' || c > '9' || section > 9999 {
			return name, -1, encoded
		}
		section = section*10 + int(c-'0')
	}
	return name, section, encoded
}

// unquoted is what stands between the quotes, if the value begins with one; quoted pairs remain.
func unquoted(s string) string {
	if s == "" || s[0] != '"' {
		return s
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[1:i]
		}
	}
	return s[1:]
}

// tightType takes out the white space that comments leave round the slash of a type.
func tightType(s string) string {
	t, params := cutParam(s)
	major, minor, found := strings.Cut(t, "/")
	if !found {
		return s
	}
	return strings.TrimRight(major, " \t") + "/" + strings.TrimLeft(minor, " \t") + s[len(s)-len(params)-min(1, len(s)-len(t)):]
}

// uncomment takes comments out that are not in quotes (RFC 822 section 3.4.3, RFC 2045 section 5.1). A
// parenthesis that nothing closes is text.
func uncomment(s string) string {
	if !strings.Contains(s, "(") {
		return s
	}
	var b strings.Builder
	depth, start, in := 0, 0, false // start is where the outermost comment or the text before it begins
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && (in || depth > 0):
			i++
		case depth == 0 && c == '"':
			in = !in
		case in:
		case c == '(':
			if depth == 0 {
				b.WriteString(s[start:i])
				start = i
			}
			depth++
		case c == ')' && depth > 0:
			if depth--; depth == 0 {
				start = i + 1
			}
		}
	}
	return b.String() + s[min(start, len(s)):]
}
