package conf

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
)

// Expand replaces Caddy's placeholders in a setting, when the configuration is loaded. One that is empty
// is an error, and one that is unknown an UnknownPlaceholderError.
func Expand(text string) (string, error) {
	expanded, err := expand(text)
	if err == nil && strings.ContainsRune(expanded, 0) {
		return "", errors.New("it contains NUL; if a file that it names is UTF-16, save that as UTF-8")
	}
	return expanded, err
}

func expand(text string) (string, error) {
	expanded, err := replacer().ReplaceOrErr(text, true, true)
	if err == nil {
		return expanded, nil
	}
	if name, ok := strings.CutPrefix(err.Error(), "unrecognized placeholder "); ok {
		err = UnknownPlaceholderError(name)
	} else if name, ok := strings.CutPrefix(err.Error(), "evaluated placeholder "); ok {
		err = empty(strings.TrimSuffix(name, " is empty"))
	}
	return "", err
}

// replacer is Caddy's, but for what editors leave in files: a byte order mark, and white space around what is meant.
func replacer() *caddy.Replacer {
	known, r := caddy.NewReplacer(), caddy.NewEmptyReplacer()
	r.Map(func(key string) (any, bool) {
		value, ok := known.Get(key)
		if text, is := value.(string); is && strings.HasPrefix(key, "file.") {
			value = strings.TrimSpace(strings.TrimPrefix(text, textfile.ByteOrderMark))
		}
		return value, ok
	})
	return r
}

// Placed is a setting in which Caddy's placeholders may stand: its name, and its values.
type Placed struct {
	Name   string
	Values []*string
}

// Place names a setting of one value.
func Place(name string, value *string) Placed { return Placed{name, []*string{value}} }

// PlaceList names a setting of several values.
func PlaceList(name string, values []string) Placed {
	p := Placed{Name: name}
	for i := range values {
		p.Values = append(p.Values, &values[i])
	}
	return p
}

// ExpandAll does in place what Expand does, setting by setting.
func ExpandAll(settings ...Placed) error {
	for _, s := range settings {
		for _, v := range s.Values {
			expanded, err := Expand(*v)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			*v = expanded
		}
	}
	return nil
}

// Directory reads a setting that is a path on which something may be made: with Caddy's placeholders, absolute in the end.
func Directory(text string) (string, error) {
	path, err := Expand(text)
	if err != nil {
		return "", err
	}
	if err := NoHome(path); err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// NoHome refuses a path such as ~/Maildir: what a shell makes of it is not done here, and a directory named ~ would be made.
func NoHome(path string) error {
	if first, _, _ := strings.Cut(path, "/"); strings.HasPrefix(first, "~") {
		return fmt.Errorf("%s stands for a directory in shells alone; write the directory itself, or {env.HOME}", first)
	}
	return nil
}

// empty says why a placeholder, in braces, has no value.
func empty(placeholder string) error {
	switch {
	case strings.HasPrefix(placeholder, "{env."):
		return fmt.Errorf("%s is empty or not set", placeholder)
	case strings.HasPrefix(placeholder, "{file."):
		return fmt.Errorf("%s is empty, or the file cannot be read", placeholder)
	}
	return fmt.Errorf("%s is empty", placeholder)
}

// UnknownPlaceholderError is the name, in braces, of a placeholder that Caddy does not know. It says which there are.
type UnknownPlaceholderError string

func (e UnknownPlaceholderError) Error() string {
	const there = "there are {env.NAME}, {file./path}, {system.hostname} and {system.wd}"
	if strings.HasPrefix(string(e), "{msa.") {
		return fmt.Sprintf("%s has a value only once there is a message, and this setting is the same for all messages; %s", string(e), there)
	}
	return fmt.Sprintf("unknown placeholder %s; %s", string(e), there)
}

// UnknownPlaceholder returns the name.
func (e UnknownPlaceholderError) UnknownPlaceholder() string { return string(e) }
