package cmdversion

import (
	"bytes"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

// The version is found however the binary was built: of this module, by xcaddy, of a working copy.
func TestVersion(t *testing.T) {
	dep := func(m debug.Module) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Path: "caddy"}, Deps: []*debug.Module{{Path: "other", Version: "v9.0.0"}, &m}}
	}
	for want, info := range map[string]*debug.BuildInfo{
		"(unknown)":                 nil,
		"v1.2.3":                    {Main: debug.Module{Path: modulePath, Version: "v1.2.3"}},
		"(devel)":                   {Main: debug.Module{Path: modulePath}},
		"(devel) abcde":             {Main: debug.Module{Path: modulePath, Version: "(devel)"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abcde"}}},
		"v1.2.4":                    dep(debug.Module{Path: modulePath, Version: "v1.2.4"}),
		"v1.2.5":                    dep(debug.Module{Path: modulePath, Version: "v0.0.0", Replace: &debug.Module{Path: "fork", Version: "v1.2.5"}}),
		"v0.0.0 (replaced by /src)": dep(debug.Module{Path: modulePath, Version: "v0.0.0", Replace: &debug.Module{Path: "/src"}}),
	} {
		if got := version(info); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := version(&debug.BuildInfo{Main: debug.Module{Path: "caddy"}}); got != "(unknown)" {
		t.Error(got)
	}
	linked = "v1.2.6"
	if got := version(nil); got != linked {
		t.Error(got)
	}
	linked = ""
	dockerfile, err := os.ReadFile("../../xcaddy/Dockerfile")
	if err != nil || !strings.Contains(string(dockerfile), "-X "+modulePath+"/modules/cmdversion.linked=$VERSION") {
		t.Error("the Dockerfile does not set the version", err)
	}
	var out bytes.Buffer
	cmd := newCommand()
	cmd.SetOut(&out)
	cmd.SetArgs(nil)
	if err := cmd.Execute(); err != nil || !regexp.MustCompile(`^caddy-msa .+, Caddy .+, go1\.\S+, [a-z0-9]+/[a-z0-9]+\n$`).MatchString(out.String()) {
		t.Errorf("%q, %v", out.String(), err)
	}
}
