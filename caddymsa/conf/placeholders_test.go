package conf

import (
	"strings"
	"testing"
)

// A placeholder that there is not draws a list of those that there are.
func TestExpand(t *testing.T) {
	t.Setenv("MSA_DIRECTORY", "/srv")
	if text, err := Expand("{env.MSA_DIRECTORY}/x"); text != "/srv/x" || err != nil {
		t.Error(text, err)
	}
	for text, want := range map[string]string{
		"/srv/{http.vars.user}":        "unknown placeholder {http.vars.user}; there are {env.NAME}, {file./path}, ",
		"/srv/{msa.recipient.domain}/": "{msa.recipient.domain} has a value only once there is a message, and this setting is the same for all messages; there are {env.NAME}, ",
		"{env.MSA_NOT_SET}":            "{env.MSA_NOT_SET} is empty or not set",
		"{file./nonexistent}":          "{file./nonexistent} is empty, or the file cannot be read",
	} {
		if got, err := Expand(text); err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), text[strings.Index(text, "{"):strings.Index(text, "}")]) != 1 {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}
