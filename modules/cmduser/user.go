package cmduser

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/usersfile"
)

// user is what the command says of a user.
type user struct {
	name         string
	credentials  []string
	addresses    []string
	setAddresses bool // else a line that is there keeps its own
	fold         names.Case
}

// line is the user as a line of its own.
func (u user) line() (string, error) {
	return passwd.FormatLine(u.name, u.credentials, u.addresses)
}

// edit puts the user into the text of a users file: into the user's line, of which all but
// the password and perhaps the addresses stays, or else at the end. All other lines stay
// as they are, octet for octet.
func (u user) edit(text string) (edited string, replaced bool, err error) {
	line, err := u.line() // for its errors too, where there is a line already
	if err != nil {
		return "", false, err
	}
	var b strings.Builder
	for old := range usersfile.Lines(text) {
		if old.Name() != u.name || replaced {
			b.WriteString(old.Whole())
			continue
		}
		replaced = true
		content, err := u.update(old.Content)
		if err != nil {
			return "", false, err
		}
		b.WriteString(old.Mark + content + old.End)
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

// change is what happens to a users file.
type change struct {
	replaced bool // there was a line of that name
	disabled bool // and what else it says keeps the user out
}

// write puts a user into a users file.
func write(path string, u user) (done change, err error) {
	table, err := usersfile.Edit(path, u.fold, func(text string) (edited string, err error) {
		edited, done.replaced, err = u.edit(text)
		return edited, err
	})
	if err != nil {
		return change{}, err
	}
	done.disabled = table.Lookup(u.name).Disabled
	return done, nil
}

// update changes the user's line.
func (u user) update(line string) (string, error) {
	fields := strings.SplitN(line, ":", 8)
	for len(fields) < 2 {
		fields = append(fields, "")
	}
	fields[1] = strings.Join(u.credentials, " ")
	if u.setAddresses {
		for len(fields) < 8 {
			fields = append(fields, "")
		}
		extra := slices.DeleteFunc(strings.Fields(fields[7]), func(field string) bool {
			key, _, _ := strings.Cut(field, "=")
			return strings.TrimSuffix(key, ":protected") == "addresses"
		})
		if len(u.addresses) > 0 {
			extra = append(extra, "addresses="+strings.Join(u.addresses, ","))
		}
		fields[7] = strings.Join(extra, " ")
	}
	line = strings.Join(fields, ":")
	if _, err := passwd.ParseLine(line); err != nil {
		return "", fmt.Errorf("the line that is there: %w; nothing was written", err)
	}
	return line, nil
}
