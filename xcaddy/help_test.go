package main

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestHelp reads the help of every command of caddy msa: it fits a terminal, says what a command does in a
// sentence, has an example, and what its exit code means where that is spoken of.
func TestHelp(t *testing.T) {
	msa := caddycmd.Commands()["msa"]
	root := &cobra.Command{Use: "msa", Short: msa.Short, Long: msa.Long}
	msa.CobraFunc(root)
	readHelp(t, root)
	n := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			n++
			readHelp(t, sub)
			walk(sub)
		}
	}
	walk(root)
	if n < 20 {
		t.Errorf("%d commands", n)
	}
}

var endsWith = regexp.MustCompile(`(?i)\bends with [0-9]`)

func readHelp(t *testing.T, cmd *cobra.Command) {
	t.Helper()
	path := "caddy " + cmd.CommandPath()
	if s := cmd.Short; s == "" || !unicode.IsUpper(rune(s[0])) || strings.HasSuffix(s, ".") || len(s) > 90 {
		t.Errorf("%s: its line in the list is %q", path, s)
	}
	for line := range strings.Lines(cmd.Long) {
		line = strings.TrimSuffix(line, "\n")
		if len(line) > 105 || line != strings.TrimRight(line, " ") {
			t.Errorf("%s: does not fit a terminal: %q", path, line)
		}
	}
	if cmd.Long != "" && !strings.HasSuffix(cmd.Long, ".") || endsWith.MatchString(cmd.Long) {
		t.Errorf("%s: ends %q; write of \"Exit code: \"", path, cmd.Long[max(0, len(cmd.Long)-80):])
	}
	if !cmd.HasSubCommands() && cmd.Example == "" {
		t.Errorf("%s: has no example", path)
	}
	for line := range strings.Lines(cmd.Example) {
		if !strings.HasPrefix(line, "  ") || !strings.Contains(line, path) {
			t.Errorf("%s: an example is %q", path, line)
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Usage == "" || unicode.IsUpper(rune(f.Usage[0])) && unicode.IsLower(rune(f.Usage[1])) || strings.HasSuffix(f.Usage, ".") {
			t.Errorf("%s: --%s is described as %q", path, f.Name, f.Usage)
		}
	})
}
