package caddymsa

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// word is one of a Caddyfile, with its quotes.
var word = regexp.MustCompile("\"[^\"]*\"|`[^`]*`|\\S+")

// TestEmptyWord writes "" in the place of each word of each Caddyfile that integration/adapt has. Whether such a
// setting is an error is its own affair, but there is an answer, on /adapt of the admin API too.
func TestEmptyWord(t *testing.T) {
	files, err := filepath.Glob("integration/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	seen := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		config, _, _ := strings.Cut(string(text), "\n----------")
		for _, at := range word.FindAllStringIndex(config, -1) {
			if w := config[at[0]:at[1]]; w == "{" || w == "}" {
				continue
			}
			changed := config[:at[0]] + `""` + config[at[1]:] + "\n"
			if seen[changed] {
				continue
			}
			seen[changed] = true
			if p := panicOf(changed); p != nil {
				t.Errorf("%s:%d: \"\" for %s: %v", file, strings.Count(config[:at[0]], "\n")+1, config[at[0]:at[1]], p)
			}
		}
	}
}

// panicOf adapts a Caddyfile.
func panicOf(config string) (p any) {
	defer func() { p = recover() }()
	_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	_ = fmt.Sprint(err)
	return nil
}
