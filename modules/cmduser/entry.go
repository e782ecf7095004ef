package cmduser

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// entry is what the command says of a user.
type entry struct {
	name         string
	credentials  []string
	addresses    []string
	setAddresses bool // else a line that is there keeps its own
	fold         names.Case
}

// line is the entry as a line of its own.
func (e entry) line() (string, error) {
	return passwd.FormatLine(e.name, e.credentials, e.addresses)
}

// edit puts the entry into the text of a users file: into the user's line, of which all but
// the password and perhaps the addresses stays, or else at the end. All other lines stay
// as they are, octet for octet.
func (e entry) edit(text string) (edited string, replaced bool, err error) {
	line, err := e.line() // for its errors too, where there is a line already
	if err != nil {
		return "", false, err
	}
	var b strings.Builder
	for old := range strings.Lines(text) {
		content := strings.TrimRight(old, "\r\n")
		end := old[len(content):]
		mark := ""
		if b.Len() == 0 && strings.HasPrefix(content, byteOrderMark) {
			mark, content = byteOrderMark, content[len(byteOrderMark):]
		}
		if name, _, _ := strings.Cut(content, ":"); name != e.name || replaced {
			b.WriteString(old)
			continue
		}
		replaced = true
		if content, err = e.update(content); err != nil {
			return "", false, err
		}
		b.WriteString(mark + content + end)
	}
	if replaced {
		return b.String(), true, nil
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		b.WriteString("\n")
	}
	b.WriteString(line + "\n")
	return b.String(), false, nil
}

// byteOrderMark is what editors on Windows begin a file with.
const byteOrderMark = "\ufeff"

// update changes the user's line.
func (e entry) update(line string) (string, error) {
	fields := strings.SplitN(line, ":", 8)
	for len(fields) < 2 {
		fields = append(fields, "")
	}
	fields[1] = strings.Join(e.credentials, " ")
	if e.setAddresses {
		for len(fields) < 8 {
			fields = append(fields, "")
		}
		extra := slices.DeleteFunc(strings.Fields(fields[7]), func(field string) bool {
			key, _, _ := strings.Cut(field, "=")
			return strings.TrimSuffix(key, ":protected") == "addresses"
		})
		if len(e.addresses) > 0 {
			extra = append(extra, "addresses="+strings.Join(e.addresses, ","))
		}
		fields[7] = strings.Join(extra, " ")
	}
	line = strings.Join(fields, ":")
	if _, err := passwd.ParseLine(line); err != nil {
		return "", fmt.Errorf("the line that is there: %w; nothing was written", err)
	}
	return line, nil
}
