package cmduser

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// change is what happens to a users file.
type change struct {
	replaced bool // there was a line of that name
	disabled bool // and what else it says keeps the user out
}

// write puts a user into a users file. The file is replaced as a whole, so that a server
// that reads it sees the old or the new one; mode and owner stay, and a new file is the
// owner's alone. What the server would refuse to read is not written.
func write(path string, u user) (change, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the link stays a link
	}
	dir := filepath.Dir(path)
	unlock, err := lock(dir)
	if err != nil {
		return change{}, err
	}
	defer unlock()
	old, info, err := read(path)
	if err != nil {
		return change{}, err
	}
	text, replaced, err := u.edit(old)
	if err != nil {
		return change{}, err
	}
	table, err := passwd.Parse(strings.NewReader(text), u.fold)
	if err != nil {
		return change{}, fmt.Errorf("%s, %w; nothing was written", path, err)
	}
	if err := replace(path, text, info); err != nil {
		return change{}, err
	}
	return change{replaced, table.Lookup(u.name).Disabled}, durable.SyncDir(os.Open, dir)
}

// spelled returns the name as the file has it already: in another spelling it is the same user, unless
// fold says otherwise. Where the file cannot be read, write says so.
func spelled(path, name string, fold names.Case) string {
	text, _, err := read(path)
	if err != nil {
		return name
	}
	for line := range strings.Lines(strings.TrimPrefix(text, byteOrderMark)) {
		if there, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); fold.Key(there) == fold.Key(name) {
			return there
		}
	}
	return name
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

// replace writes text to the file by way of another one in its directory. old is nil for a
// new file.
func replace(path, text string, old os.FileInfo) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".users-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.WriteString(text); err != nil {
		return err
	}
	if old != nil {
		if err := keepOwner(tmp, old); err != nil {
			return err
		}
		if err := tmp.Chmod(old.Mode().Perm()); err != nil {
			return err
		}
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
