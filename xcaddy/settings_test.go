package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// severalTimes are the settings that add up, by what has them: all others may be given once.
var severalTimes = map[string][]string{
	"msa":             {"listen", "listen_tls", "policy", "deliver", "notify", "copy"},
	"static":          {"user"},
	"http":            {"header"},
	"webhook":         {"header"},
	"pipe":            {"env"},
	"queue":           {"destination"},
	"regexp":          {"actual", "logical"},
	"dkim":            {"key"},
	"headers":         {"require", "add_missing", "prepend"},
	"recipients":      {"allow", "allow_file", "deny", "deny_file"},
	"sender_identity": {"addresses"},
	"rate_limit":      {"window"},                                                                                   // with a block: an hour, a day
	"statements":      {"list", "disable", "enable", "delete", "rename", "add_app_password", "revoke_app_password"}, // one after the other
	"msa_autoconfig":  {"domains", "imap", "pop3", "smtp"},
	"time_window":     {"allow", "deny"},
	"content":         {"require_headers", "forbid_headers", "allow_headers", "header", "media_types", "file_names", "archived_names", "charsets", "transfer_encodings", "smime", "defects"},
	"auth":            {"app_passwords", "client_cert", "dovecot", "file", "http", "ldap", "oauth", "sql", "static"}, // one backend is asked after the other
}

// caddys are the directives whose blocks Caddy itself reads, and says what it thinks of what is in them.
var caddys = []string{"tls", "listener_wrappers"}

// TestSettings goes over every setting of every directive and module, as the golden files of
// integration/adapt have them: given twice, it is refused with its name, file and line. What a block knows and
// no golden file has is an error too, so that nothing new can be left out.
func TestSettings(t *testing.T) {
	known := make(map[string]map[string]bool) // a block, by the names that it knows: which of them there are files with
	words := make(map[string]bool)
	for _, file := range goldens(t) {
		lines := strings.Split(file.text, "\n")
		var parents []string
		var blocks []string // what each of them knows
		for i, line := range lines {
			fields := strings.Fields(line)
			if len(fields) == 0 {
				continue
			}
			name := fields[0]
			for _, word := range fields {
				words[word] = true
			}
			if name == "}" {
				parents, blocks = parents[:len(parents)-1], blocks[:len(blocks)-1]
				continue
			}
			opens := fields[len(fields)-1] == "{"
			if len(parents) > 1 && ours(parents) && !slices.Contains(caddys, parents[min(2, len(parents)-1)]) {
				if names := known[blocks[len(blocks)-1]]; names != nil {
					names[name] = true
				}
				parent := parents[len(parents)-1]
				if name[0] != '@' && !slices.Contains(severalTimes[parent], name) {
					file.twice(t, lines, i, parent, name)
				}
			}
			if opens {
				parents = append(parents, owner(fields))
			}
			var names []string
			if (ours(parents) || slices.Contains(handlers, name)) && (len(parents) < 2 || !slices.Contains(caddys, name)) {
				names = file.names(lines, i, opens)
			}
			key := strings.Join(names, " ")
			if names != nil && known[key] == nil {
				known[key] = make(map[string]bool)
			}
			if opens {
				blocks = append(blocks, key)
			}
		}
	}
	for block, have := range known {
		for _, name := range strings.Fields(block) {
			if !have[name] {
				t.Errorf("no golden file in integration/adapt has the setting %s, of those that stand together: %s", name, block)
			}
		}
	}
	if len(known) < 30 {
		t.Error("of few blocks is it known what they know:", slices.Sorted(maps.Keys(known)))
	}
	for _, namespace := range []string{"msa.auth", "msa.policies", "msa.matchers", "msa.sinks", "msa.address_maps", "msa.notifiers", "msa.spools"} {
		for _, m := range caddy.GetModules(namespace) {
			if !words[m.ID.Name()] {
				t.Errorf("no golden file in integration/adapt has the module %s", m.ID)
			}
		}
	}
}

// handlers are those of web sites that are this server's.
var handlers = []string{"msa", "msa_autoconfig", "msa_console", "msa_submit"}

// ours tells whether a block is this server's, and not a web site's or another app's.
func ours(blocks []string) bool {
	return slices.ContainsFunc(blocks, func(block string) bool { return slices.Contains(handlers, block) })
}

// golden is a Caddyfile that adapts.
type golden struct{ name, text string }

func goldens(t *testing.T) (all []golden) {
	files, err := filepath.Glob("../integration/adapt/*.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if text, result, _ := strings.Cut(string(b), "\n----------\n"); strings.HasPrefix(result, "{") {
			all = append(all, golden{filepath.Base(file), text})
		}
	}
	if len(all) < 40 {
		t.Fatal("few golden files: ", len(all))
	}
	return all
}

// owner is what the settings in a block belong to: the module, or else the directive.
func owner(line []string) string {
	if slices.Contains([]string{"policy", "deliver", "copy", "bounces", "notify", "spool", "address_map"}, line[0]) {
		for _, word := range line[1:] {
			if word[0] != '@' && word != "log_only" {
				return word
			}
		}
	}
	if line[0][0] == '@' {
		return "@"
	}
	return line[0]
}

// twice gives a setting, and the block that it may have, again.
func (g golden) twice(t *testing.T, lines []string, at int, parent, name string) {
	t.Helper()
	end, depth := at, 0
	for ; end < len(lines); end++ {
		if strings.HasSuffix(lines[end], "{") {
			depth++
		}
		if strings.TrimSpace(lines[end]) == "}" {
			depth--
		}
		if depth == 0 {
			break
		}
	}
	_, err := adapt(strings.Join(slices.Insert(slices.Clone(lines), end+1, lines[at:end+1]...), "\n"))
	want := fmt.Sprintf("%s is specified twice", name)
	place := fmt.Sprintf("Caddyfile:%d", end+2)
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), place) {
		t.Errorf("%s: %s of %s, given twice: %v; want %q and %q", g.name, name, parent, err, want, place)
	}
}

// knownNames is how a block lists what it knows.
var knownNames = regexp.MustCompile(`; known(?: settings)?: (.*?)(?:, at | at Caddyfile:)`)

// names are those that a block knows, as its error has them.
func (g golden) names(lines []string, at int, opens bool) []string {
	insert := []string{"nonesuch"}
	lines = slices.Clone(lines)
	if !opens {
		lines[at] += " {"
		insert = append(insert, "}")
	}
	_, err := adapt(strings.Join(slices.Insert(lines, at+1, insert...), "\n"))
	if err == nil {
		return nil
	}
	m := knownNames.FindStringSubmatch(err.Error())
	if m == nil {
		return nil
	}
	return strings.Fields(strings.ReplaceAll(strings.ReplaceAll(m[1], " and ", " "), ",", " "))
}

func adapt(text string) (string, error) {
	b, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return string(b), err
}
