package integration

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/caddy-msa/caddy-msa"

// rules say what packages must not depend on, directly or not. The same rules are in
// .golangci.yml for what a file imports itself.
var rules = []struct {
	packages []string
	never    []string
	reason   string
}{
	{
		[]string{"caddymsa/smtpd", "caddymsa/sasl", "caddymsa/mailaddr", "caddymsa/names", "caddymsa/passwd", "caddymsa/dsn", "caddymsa/queue", "caddymsa/nexthop",
			"caddymsa/watch", "caddymsa/placeholder", "caddymsa/envelope", "caddymsa/authcache"},
		[]string{"github.com/caddyserver/caddy/v2"},
		"protocol and data packages serve without Caddy, and are tested without it",
	},
	{
		[]string{"caddymsa", "caddymsa/message"},
		[]string{"github.com/cockroachdb/pebble", "github.com/caddyserver/caddy/v2/cmd", "github.com/caddyserver/caddy/v2/modules",
			"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile", modulePath + "/caddymsa/adminapi", modulePath + "/caddymsa/adminclient"},
		"every module carries what the contracts carry",
	},
	{
		[]string{"caddymsa/..."},
		[]string{modulePath + "/modules", modulePath + "/xcaddy", modulePath + "/integration"},
		"contracts, app and leaf packages do not know who implements them",
	},
	{
		[]string{"modules/..."},
		[]string{modulePath + "/caddymsa/app", modulePath + "/xcaddy", modulePath + "/integration"},
		"modules know the contracts and leaf packages",
	},
}

func TestImportDirection(t *testing.T) {
	t.Parallel()
	for _, rule := range rules {
		for _, pattern := range rule.packages {
			for pkg, deps := range dependencies(t, pattern) {
				for _, dep := range deps {
					for _, never := range rule.never {
						if dep == never || strings.HasPrefix(dep, never+"/") {
							t.Errorf("%s depends on %s: %s", pkg, dep, rule.reason)
						}
					}
				}
			}
		}
	}
}

// Nothing but the app itself and what is made of it depends on the app.
func TestAppIsOnTop(t *testing.T) {
	t.Parallel()
	for pkg, deps := range dependencies(t, "caddymsa/...") {
		if slices.Contains(deps, modulePath+"/caddymsa/app") && !strings.HasPrefix(pkg, modulePath+"/caddymsa/app/") {
			t.Errorf("%s depends on the app, which loads modules by the contracts", pkg)
		}
	}
}

// What a module carries with it is what its tests link each time: a small one stays small.
func TestContractsAreLight(t *testing.T) {
	t.Parallel()
	const most = 400
	for _, pkg := range []string{"modules/policysize", "caddymsa/message"} {
		for _, deps := range dependencies(t, pkg) {
			if len(deps) > most {
				t.Errorf("%s has %d packages behind it, more than %d", pkg, len(deps), most)
			}
		}
	}
}

// Modules do not import one another: each can be left out or replaced.
func TestModulesAreIndependent(t *testing.T) {
	t.Parallel()
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
