package conf

import (
	"os"
	"path/filepath"
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

// What editors leave in files is no part of a value, wherever the file stands in it.
func TestExpandFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for content, want := range map[string]string{"\ufefftoken\r\n": "Bearer token", " token \n\n": "Bearer token", "to\ufeffken": "Bearer to\ufeffken", "t\x00o\x00": "", "\ufeff\r\n": ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Expand("Bearer {file." + file + "}"); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
}

// A directory named ~ is never meant.
func TestDirectory(t *testing.T) {
	t.Setenv("HOME", "/home/alice")
	for text, want := range map[string]string{"/srv//x/": "/srv/x", "{env.HOME}/Maildir": "/home/alice/Maildir", "/srv/~x": "/srv/~x"} {
		if path, err := Directory(text); path != want || err != nil {
			t.Errorf("%s: %q, %v", text, path, err)
		}
	}
	for _, text := range []string{"~", "~/Maildir", "~alice/Maildir"} {
		if path, err := Directory(text); err == nil || !strings.Contains(err.Error(), "write the directory itself") {
			t.Errorf("%s: %q, %v", text, path, err)
		}
	}
}

// Settings are filled in where they are, and an error says in which.
func TestExpandAll(t *testing.T) {
	t.Setenv("MSA_NAME", "alice")
	name, list := "{env.MSA_NAME}", []string{"x", "{env.MSA_NAME}@x"}
	if err := ExpandAll(Place("name", &name), PlaceList("list", list)); err != nil || name != "alice" || list[1] != "alice@x" {
		t.Error(name, list, err)
	}
	list[0] = "{env.MSA_NOT_SET}"
	if err := ExpandAll(Place("name", &name), PlaceList("list", list)); err == nil || err.Error() != "list: {env.MSA_NOT_SET} is empty or not set" {
		t.Error(err)
	}
}
