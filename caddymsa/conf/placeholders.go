package conf

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Expand replaces Caddy's placeholders in a setting, when the configuration is loaded. One that is empty
// is an error, and one that is unknown an UnknownPlaceholderError.
func Expand(text string) (string, error) {
	expanded, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
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
