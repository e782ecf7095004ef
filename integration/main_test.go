// Package integration runs the real binary against real clients and servers.
package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// binary is a Caddy with this repository's modules, built once for all tests.
var binary string

// buildDir is where it is, and what else tests build once.
var buildDir string

// environment is what the servers under test may read: t.Setenv is not for tests that run beside others.
var environment = map[string]string{
	"RELAY_PASSWORD":     postfixPass,
	"S3_KEY":             "s3cret-key",
	"MSA_S3_SECRET":      "s3cret-key",
	"MSA_SPOOL_PASSWORD": "a-long-password",
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "caddy-msa-integration")
	if err != nil {
		panic(err)
	}
	buildDir = dir
	began := time.Now()
	if binary = os.Getenv("MSA_BINARY"); binary == "" {
		if binary, err = build(dir); err != nil {
			fmt.Fprintln(os.Stderr, "building the binary:", err)
			os.Exit(1)
		}
	}
	tell("integration: binary built in %s", time.Since(began).Round(time.Second))
	for name, value := range environment {
		_ = os.Setenv(name, value)
	}
	// Most tests wait for processes rather than work.
	_ = flag.Set("test.parallel", "12")
	code := m.Run()
	if packages := installed.Lacking(); len(packages) > 0 {
		tell("skipped tests for want of these Debian packages: %s", strings.Join(packages, ", "))
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// inCI tells whether a missing program is a failure.
func inCI() bool { return installed.InCI() }

// often is installed.Rounds whether these tests are raced or not: what they repeat is done by the server, which is not.
func often(inCI, elsewhere int) int {
	if installed.InCI() {
		return inCI
	}
	return elsewhere
}

// need returns the path of a program that works, or skips the test; in CI it fails.
func need(t testing.TB, name string) string {
	t.Helper()
	return installed.Need(t, name)
}

// needRoot skips a test that only root can run; in CI it fails.
func needRoot(t testing.TB) {
	t.Helper()
	installed.NeedRoot(t)
}

// tell prints a line where the one who typed go test sees it: the output of a
// package that passes is not shown, so the line goes to the parent's standard error.
func tell(format string, args ...any) {
	line := fmt.Sprintf(format+"\n", args...)
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", os.Getppid()), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		fmt.Fprint(os.Stderr, line)
		return
	}
	defer f.Close()
	fmt.Fprint(f, line)
}

// build makes the binary: in CI as operators do, by xcaddy; else by go itself, which
// makes the same of the same sources and needs nothing to be fetched.
func build(dir string) (string, error) {
	out := filepath.Join(dir, "caddy")
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	if !inCI() {
		return out, link(root, nil, out, "./xcaddy")
	}
	// xcaddy comes as a requirement of a scratch module, since it is pinned there.
	scratch := filepath.Join(dir, "xcaddy")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"go", "mod", "init", "scratch"},
		{"go", "get", "github.com/caddyserver/xcaddy/cmd/xcaddy@v0.4.5"},
		{"go", "build", "-o", "xcaddy", "github.com/caddyserver/xcaddy/cmd/xcaddy"},
	} {
		if err := fetch(scratch, nil, args...); err != nil {
			return "", err
		}
	}
	// xcaddy asks for this module's versions though it is replaced: who is asked must
	// say that there are none, which a proxy and the module cache do and a failing
	// look-up at its origin does not.
	proxies, err := exec.Command("go", "env", "GOPROXY").Output()
	if err != nil {
		return "", err
	}
	asked := strings.FieldsFunc(strings.TrimSpace(string(proxies)), func(r rune) bool { return r == ',' || r == '|' })
	asked = slices.DeleteFunc(asked, func(p string) bool { return p == "direct" || p == "off" })
	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		return "", err
	}
	env := []string{
		"GOPROXY=" + strings.Join(append(asked, "file://"+strings.TrimSpace(string(cache))+"/cache/download"), "|"),
		"XCADDY_GO_BUILD_FLAGS=-ldflags '-s -w'", // without -trimpath, so that go build's cache serves
	}
	return out, fetch(scratch, env, "./xcaddy", "build", "v2.11.9", "--with", "github.com/caddy-msa/caddy-msa="+root, "--output", out)
}

// link puts a program at a path. What was linked of the same sources before is in go run's cache, which go build -o does not look into.
func link(dir string, env []string, out, program string) error {
	return run(dir, env, "go", "run", "-ldflags", "-s -w", "-exec", "cp", program, out)
}

// fetch is run of what asks the Go module proxy, which in CI may fail for a moment.
func fetch(dir string, env []string, args ...string) (err error) {
	for n := range 3 {
		if err = run(dir, env, args...); err == nil || !inCI() {
			break
		}
		time.Sleep(time.Duration(5+20*n) * time.Second)
	}
	return err
}

// run runs a command without the race detector that the tests themselves may have, and in CI without the cgo that it needs: xcaddy does
// without, and what it makes is not compiled twice then.
func run(dir string, env []string, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
	if inCI() {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
	cmd.Env = append(cmd.Env, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
