package policydkim

import "strings"

// foldAt is how long lines should be at most, without CRLF (RFC 5322 section 2.1.1).
const foldAt = 78

// folder writes the tags of a DKIM-Signature field and folds between them.
type folder struct {
	b    strings.Builder
	line int // length of the last line
}

// put writes a word, on a new line if it has no room on this one.
func (f *folder) put(space, word string) {
	if f.b.Len() == 0 {
		f.b.WriteString("DKIM-Signature:")
		f.line = f.b.Len()
	}
	if f.line+len(space)+len(word) > foldAt {
		f.b.WriteString("\r\n ")
		f.line, space = 1, ""
	}
	f.b.WriteString(space + word)
	f.line += len(space) + len(word)
}

func (f *folder) tag(name, value string) { f.put(" ", name+"="+value+";") }

// list writes a tag whose value has colons, at which it may be folded.
func (f *folder) list(name string, values []string) {
	f.put(" ", name+"="+values[0])
	for _, v := range values[1:] {
		f.put("", ":"+v)
	}
	f.put("", ";")
}

func (f *folder) String() string { return f.b.String() }

// wrapped folds a signature in base64.
func wrapped(s string) string {
	const width = 72
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width] + "\r\n ")
		s = s[width:]
	}
	return b.String() + s
}
