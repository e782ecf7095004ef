package authdovecot

import (
	"strconv"
	"strings"
)

// Dovecot's protocol has one command a line, its parameters separated by tabs. What would
// disturb that is escaped in a value: \001 and a letter.

// maxLine is the longest line that Dovecot takes, in octets; it closes the connection at a longer one.
const maxLine = 16384

var escaper = strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")

// escape makes a value fit for a line.
func escape(s string) string { return escaper.Replace(s) }

// unescape is for what Dovecot sends. An escape that is not known stands for its character.
func unescape(s string) string {
	if strings.IndexByte(s, 1) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == 1 && i+1 < len(s) {
			i++
			switch c = s[i]; c {
			case '0':
				c = 0
			case '1':
				c = 1
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			case 'n', 'l': // the documentation says l, Dovecot says n
				c = '\n'
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// reply is a line that answers a request: command, id, parameters.
type reply struct {
	command string
	id      uint32
	fields  fields
}

// fields are parameters: name=value, or a name alone.
type fields []string

// parseReply is false for a line that answers no request.
func parseReply(line string) (r reply, ok bool) {
	command, rest, _ := strings.Cut(line, "\t")
	switch command {
	case "OK", "FAIL", "CONT", "USER", "PASS", "NOTFOUND":
	default:
		return reply{}, false
	}
	words := strings.Split(rest, "\t")
	id, err := strconv.ParseUint(words[0], 10, 32)
	if err != nil {
		return reply{}, false
	}
	for i, word := range words {
		words[i] = unescape(word)
	}
	return reply{command: command, id: uint32(id), fields: words[1:]}, true
}

// get returns the value of the last field of that name, as Dovecot itself reads them, and whether
// there is one.
func (f fields) get(name string) (value string, ok bool) {
	for _, field := range f {
		if key, v, _ := strings.Cut(field, "="); key == name {
			value, ok = v, true
		}
	}
	return value, ok
}

func (f fields) has(name string) bool {
	_, ok := f.get(name)
	return ok
}

// first is a parameter that stands alone, such as the data of a CONT.
func (f fields) first() string {
	if len(f) == 0 {
		return ""
	}
	return f[0]
}
