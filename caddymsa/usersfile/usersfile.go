// Package usersfile changes users files, whole or not at all: all lines but the user's stay, octet for octet.
package usersfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
)

// tries is how often an edit begins again because somebody else has written the file meanwhile.
const tries = 5

// ErrBusy says that somebody else keeps writing the file.
var ErrBusy = errors.New("somebody else keeps changing the file; nothing was written")

// ErrUnknown says that the file has no such user.
var ErrUnknown = errors.New("there is no such user in the file")

// Edit replaces the text of a file by what edit makes of it; a file that does not exist is empty, and made. The file is replaced as a whole, so that a server
// that reads it sees the old or the new one; mode and owner stay, and a new file is the owner's alone. Two Edits wait for one another;
// of an editor that writes between, nothing is lost: edit is called again with what it wrote. What the server would refuse to read is not written.
func Edit(path string, fold names.Case, edit func(text string) (string, error)) (*passwd.Table, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the link stays a link
	}
	dir := filepath.Dir(path)
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for range tries {
		old, info, err := read(path)
		if err != nil {
			return nil, err
		}
		text, err := edit(old)
		if err != nil {
			return nil, err
		}
		text = sayIfEmpty(text)
		table, err := passwd.Parse(strings.NewReader(text), fold)
		if err != nil {
			return nil, unusable{path, err}
		}
		if info != nil && text == old {
			return table, nil
		}
		written, err := replace(path, old, text, info)
		if err != nil {
			return nil, err
		}
		if written {
			return table, durable.SyncDir(os.Open, dir)
		}
	}
	return nil, fmt.Errorf("%s: %w", path, ErrBusy)
}

// sayIfEmpty has a text without users say that this is meant, and only such a text.
func sayIfEmpty(text string) string {
	var b strings.Builder
	users, said, end := false, false, "\n"
	for line := range Lines(text) {
		users = users || strings.TrimSpace(line.Name()) != ""
		end = cmp.Or(line.End, end)
		if strings.TrimSpace(line.Content) == passwd.NoUsers {
			said = true
			b.WriteString(line.Mark)
			continue
		}
		b.WriteString(line.Whole())
	}
	switch {
	case users:
		return b.String() // without the line
	case said:
		return text
	}
	if strings.TrimPrefix(text, textfile.ByteOrderMark) != "" && !strings.HasSuffix(text, "\n") {
		text += end
	}
	return text + passwd.NoUsers + end
}

// unusable is of a text that the server would refuse to read.
type unusable struct {
	path  string
	cause error
}

func (u unusable) Error() string   { return fmt.Sprintf("%s, %v; nothing was written", u.path, u.cause) }
func (u unusable) Unwrap() []error { return []error{passwd.ErrRefused, u.cause} }

// Change makes a change in the line of a user.
func Change(path string, fold names.Case, name string, change passwd.Change) (note string, err error) {
	if _, err := os.Stat(path); err != nil && !(change.AddApp != nil && change.New) {
		return "", err
	}
	_, err = Edit(path, fold, func(text string) (string, error) {
		edited, said, err := ChangeText(text, fold, name, change)
		note = said
		return edited, err
	})
	return note, err
}

// ChangeText is the text of a file with the change.
func ChangeText(text string, fold names.Case, name string, change passwd.Change) (edited, note string, err error) {
	var b strings.Builder
	found, name := false, Spelled(text, name, fold)
	for line := range Lines(text) {
		if found || name == "" || line.Name() != name {
			b.WriteString(line.Whole())
			continue
		}
		found = true
		if change.Delete {
			b.WriteString(line.Mark)
			continue
		}
		content, said, err := change.ApplyLine(line.Content)
		if err != nil {
			return "", "", err
		}
		note = said
		b.WriteString(line.Mark + content + line.End)
	}
	switch {
	case !found && change.AddApp != nil && change.New:
		return appendUser(text, name, change)
	case !found:
		return "", "", ErrUnknown
	}
	return b.String(), note, nil
}

// appendUser adds the line of a user who has nothing yet.
func appendUser(text, name string, change passwd.Change) (edited, note string, err error) {
	if err := passwd.CheckLineName(name); err != nil {
		return "", "", err
	}
	line, note, err := change.ApplyLine(name + ":")
	if err != nil {
		return "", "", err
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + line + "\n", note, nil
}

// Line is a line of a users file.
type Line struct {
	Mark    string // a byte order mark before the first
	Content string
	End     string // LF, CRLF or nothing
}

// Whole is the line as it stands in the file.
func (l Line) Whole() string { return l.Mark + l.Content + l.End }

// Name is the user's; empty where the line is none, such as a comment.
func (l Line) Name() string {
	if strings.HasPrefix(l.Content, "#") {
		return ""
	}
	name, _, _ := strings.Cut(l.Content, ":")
	return name
}

// Lines are those of a text.
func Lines(text string) func(yield func(Line) bool) {
	return func(yield func(Line) bool) {
		first := true
		for whole := range strings.Lines(text) {
			content := strings.TrimRight(whole, "\r\n")
			l := Line{Content: content, End: whole[len(content):]}
			if first && strings.HasPrefix(content, textfile.ByteOrderMark) {
				l.Mark, l.Content = textfile.ByteOrderMark, content[len(textfile.ByteOrderMark):]
			}
			first = false
			if !yield(l) {
				return
			}
		}
	}
}

// Spelled returns the name as the text has it already: in another spelling it is the same user, unless
// fold says otherwise.
func Spelled(text, name string, fold names.Case) string {
	for line := range Lines(text) {
		if there := line.Name(); fold.Key(there) == fold.Key(name) {
			return there
		}
	}
	return name
}

// SpelledIn is Spelled for a file. Where the file cannot be read, Edit says so.
func SpelledIn(path, name string, fold names.Case) string {
	text, _, err := read(path)
	if err != nil {
		return name
	}
	return Spelled(text, name, fold)
}

// read returns a file's text, or none and no info if it does not exist.
func read(path string) (string, os.FileInfo, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if !info.Mode().IsRegular() {
		return "", nil, fmt.Errorf("%s is not a regular file", path)
	}
	b, err := os.ReadFile(path)
	return string(b), info, err
}

// replace writes text to the file by way of another one in its directory, unless the file is not what it was. info is nil for a
// new file.
func replace(path, old, text string, info os.FileInfo) (written bool, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".users-*") // 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.WriteString(text); err != nil {
		return false, err
	}
	if info != nil {
		if err := keepOwner(tmp, info); err != nil {
			return false, err
		}
		if err := tmp.Chmod(info.Mode().Perm()); err != nil {
			return false, err
		}
	}
	if err := tmp.Sync(); err != nil {
		return false, err
	}
	if err := tmp.Close(); err != nil {
		return false, err
	}
	now, _, err := read(path)
	if err != nil || !bytes.Equal([]byte(now), []byte(old)) {
		return false, err
	}
	return true, os.Rename(tmp.Name(), path)
}
