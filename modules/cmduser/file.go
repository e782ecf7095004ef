package cmduser

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// writeLine puts a user's line into a users file: in the place of the one that is
// there, or at the end. The file is replaced as a whole, so a server that reads it sees the
// old or the new one.
func writeLine(path, name, line string) (replaced bool, err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the link stays a link
	}
	old, err := os.ReadFile(path)
	mode := fs.FileMode(0o600)
	info, statErr := os.Stat(path)
	switch {
	case err == nil && statErr == nil:
		mode = info.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	text, replaced := replace(string(old), name, line)

	tmp, err := os.CreateTemp(filepath.Dir(path), ".users-*")
	if err != nil {
		return false, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.WriteString(text); err != nil {
		return false, err
	}
	if err := tmp.Chmod(mode); err != nil {
		return false, err
	}
	if info != nil {
		keepOwner(tmp, info)
	}
	if err := tmp.Sync(); err != nil {
		return false, err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return false, err
	}
	return replaced, syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// replace leaves all lines but the user's as they are.
func replace(text, name, line string) (string, bool) {
	var b strings.Builder
	replaced := false
	for rest := text; rest != ""; {
		var old, end string
		if i := strings.IndexByte(rest, '\n'); i >= 0 {
			old, end, rest = rest[:i], "\n", rest[i+1:]
		} else {
			old, end, rest = rest, "\n", ""
		}
		if strings.HasPrefix(old, name+":") && !replaced {
			old, replaced = line, true
		}
		b.WriteString(old + end)
	}
	if !replaced {
		b.WriteString(line + "\n")
	}
	return b.String(), replaced
}
