// Package installed finds the real clients and servers that tests talk to. A program is present when it
// works, not when there is a file of its name: each is run once, and has to say what it is.
package installed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a probe may take: a busy machine starts a large program slowly.
const patience = 3 * time.Minute

// finding is what is known of a program, once it was looked for.
type finding struct {
	once sync.Once
	path string
	err  error
}

var (
	findings sync.Map // *finding by name
	lacking  struct {
		sync.Mutex
		packages []string
	}
)

// InCI tells whether this is the gate, CI=true, where a program that is missing fails a test instead of skipping it and tests
// repeat what they do as often as they can.
func InCI() bool { return os.Getenv("CI") == "true" }

// Rounds is how often a test repeats what it does: as often as it takes to find what is rare in CI, and elsewhere as often as it takes
// to have done each thing that it does. Under the race detector, which takes ten times as long, few are enough: the gate runs the
// tests that call this without it too.
func Rounds(inCI, elsewhere int) int {
	if InCI() && !Raced {
		return inCI
	}
	return elsewhere
}

// Need returns the path of a program of the catalogue that works. Without one it skips the test, with
// the Debian package that has it; in CI it fails.
func Need(t testing.TB, name string) string {
	t.Helper()
	path, err := Find(name)
	if err != nil {
		Lack(t, catalogue[name].Package, err)
	}
	return path
}

// NeedRoot skips a test that only root can run; in CI it fails.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Lack(t, "(root)", fmt.Errorf("only root can run this"))
	}
}

// Lack ends a test that cannot run without a package.
func Lack(t testing.TB, debianPackage string, why error) {
	t.Helper()
	if InCI() {
		t.Fatalf("package %s is needed: %v", debianPackage, why)
		return
	}
	note(debianPackage)
	t.Skipf("package %s is needed: %v", debianPackage, why)
}

func note(debianPackage string) {
	lacking.Lock()
	defer lacking.Unlock()
	if !slices.Contains(lacking.packages, debianPackage) {
		lacking.packages = append(lacking.packages, debianPackage)
	}
}

// Lacking are the packages that this process skipped tests for, and those of the catalogue that do
// not work, for which other packages' tests are skipped.
func Lacking() []string {
	var wg sync.WaitGroup
	for name, p := range catalogue {
		wg.Go(func() {
			if _, err := Find(name); err != nil {
				note(p.Package)
			}
		})
	}
	wg.Wait()
	lacking.Lock()
	defer lacking.Unlock()
	return slices.Sorted(slices.Values(lacking.packages))
}

// Find returns the path of a program of the catalogue that works. The answer is remembered.
func Find(name string) (string, error) {
	p, ok := catalogue[name]
	if !ok {
		return "", fmt.Errorf("%s is not in the catalogue of programs", name)
	}
	v, _ := findings.LoadOrStore(name, new(finding))
	f := v.(*finding)
	f.once.Do(func() { f.path, f.err = p.find() })
	return f.path, f.err
}

// find probes each program of the name, in the order of the path and of where administrators'
// programs are, until one works.
func (p Program) find() (string, error) {
	problem := fmt.Errorf("%s is not installed", p.Program)
	for _, path := range p.candidates() {
		err := p.probe(path)
		if err == nil {
			return path, nil
		}
		problem = fmt.Errorf("%s does not work: %w", path, err)
	}
	return "", problem
}

func (p Program) candidates() (paths []string) {
	dirs := append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/local/bin")
	for _, dir := range append(p.Dirs, dirs...) {
		found, _ := filepath.Glob(filepath.Join(dir, p.Program))
		slices.Reverse(found) // the highest version first
		for _, path := range found {
			if path, err := filepath.Abs(path); err == nil && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// probe runs the program, which has to say what is expected of it. Its exit code does not count:
// some programs print their version and fail.
func (p Program) probe(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	run := path
	if p.By != "" {
		run = filepath.Join(filepath.Dir(path), p.By)
	}
	cmd := exec.CommandContext(ctx, run, p.Args...)
	cmd.WaitDelay = 30 * time.Second
	cmd.Env = append(os.Environ(), append(p.Env, "LC_ALL=C")...)
	out, err := cmd.CombinedOutput()
	for _, says := range p.Says {
		if !strings.Contains(string(out), says) {
			return fmt.Errorf("%s says %q and not %q (%v)", strings.Join(append([]string{filepath.Base(run)}, p.Args...), " "), clip(string(out)), says, err)
		}
	}
	for _, file := range p.Files {
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("there is no %s", file)
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}
