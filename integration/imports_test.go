package integration

import (
	"os/exec"
	"strings"
	"testing"
)

const modulePath = "github.com/caddy-msa/caddy-msa"

// rules say what a package must not depend on, directly or not.
var rules = []struct {
	packages []string
	never    []string
	reason   string
}{
	{
		[]string{"caddymsa/smtpd", "caddymsa/sasl", "caddymsa/mailaddr", "caddymsa/passwd", "caddymsa/dsn", "caddymsa/queue", "caddymsa/nexthop", "caddymsa/watch", "caddymsa/placeholder"},
		[]string{"github.com/caddyserver/caddy/v2"},
		"protocol and data packages serve without Caddy, and are tested without it",
	},
	{
		[]string{"caddymsa/..."},
		[]string{modulePath + "/modules/", modulePath + "/xcaddy", modulePath + "/integration"},
		"the contracts do not know who implements them",
	},
	{
		[]string{"modules/..."},
		[]string{modulePath + "/xcaddy", modulePath + "/integration"},
		"modules are used by the binary, not the other way round",
	},
}

func TestImportDirection(t *testing.T) {
	for _, rule := range rules {
		for _, pattern := range rule.packages {
			for pkg, deps := range dependencies(t, pattern) {
				for _, dep := range deps {
					for _, never := range rule.never {
						if dep == never || strings.HasPrefix(dep, strings.TrimSuffix(never, "/")+"/") {
							t.Errorf("%s depends on %s: %s", pkg, dep, rule.reason)
						}
					}
				}
			}
		}
	}
}

// Modules do not import one another: each can be left out or replaced.
func TestModulesAreIndependent(t *testing.T) {
	for pkg, deps := range dependencies(t, "modules/...") {
		own := strings.Join(strings.Split(pkg, "/")[:5], "/")
		for _, dep := range deps {
			if strings.HasPrefix(dep, modulePath+"/modules/") && dep != own && !strings.HasPrefix(dep, own+"/") {
				t.Errorf("%s depends on %s: modules do not import one another", pkg, dep)
			}
		}
	}
}

// dependencies returns the dependencies of each package that matches.
func dependencies(t *testing.T, pattern string) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Deps " "}}`, "./"+pattern)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pattern, err)
	}
	all := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		all[words[0]] = words[1:]
	}
	if len(all) == 0 {
		t.Fatalf("no package matches %s", pattern)
	}
	return all
}
