package machine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

func expect(t *testing.T, found []doctor.Finding, level doctor.Level, text string) {
	t.Helper()
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level == level && strings.Contains(f.Text, text) }) {
		t.Errorf("no %s: %q in %+v", level, text, found)
	}
	for _, f := range found {
		if f.Level != doctor.OK && f.Remedy == "" {
			t.Errorf("no remedy: %+v", f)
		}
	}
}

func TestClock(t *testing.T) {
	expect(t, clock(true, true), doctor.OK, "synchronized")
	expect(t, clock(false, true), doctor.Warn, "no time service keeps it right")
	expect(t, clock(false, false), doctor.Skipped, "does not say")
	if len(Clock()) != 1 {
		t.Error("of this machine's clock nothing is said")
	}
}

func TestLimits(t *testing.T) {
	expect(t, Limits{}.Check(20000, 1<<20), doctor.OK, "20000 clients")
	expect(t, Limits{Files: 1024}.Check(20000, 1<<20), doctor.Warn, "may open 1024 files")
	expect(t, Limits{FileSize: 1 << 20}.Check(1, 50<<20), doctor.Wrong, "files of 1048576 octets")
	CurrentLimits()
}

func TestProxies(t *testing.T) {
	expect(t, Proxies([]string{"PATH=/bin", "HTTPS_PROXY="}), doctor.OK, "no proxy")
	expect(t, Proxies([]string{"https_proxy=http://proxy.example.org:3128"}), doctor.Warn, "https_proxy is set")
}

func TestPrivate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pem")
	check := func(level doctor.Level, text string) {
		t.Helper()
		n := doctor.About("files", "")
		Private(n, "the key", file)
		expect(t, n.Findings, level, text)
	}
	check(doctor.Wrong, "cannot be read")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]struct {
		level doctor.Level
		text  string
	}{0o600: {doctor.OK, "private"}, 0o640: {doctor.OK, "private"}, 0o644: {doctor.Warn, "can be read by everybody"}, 0o606: {doctor.Wrong, "can be changed by everybody"}} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		check(want.level, want.text)
	}
}

func TestDisk(t *testing.T) {
	check := func(kind string, took time.Duration, err error, level doctor.Level, text string) {
		t.Helper()
		n := doctor.About("spool", "")
		disk(n, "/spool", kind, func() (time.Duration, error) { return took, err })
		expect(t, n.Findings, level, text)
	}
	check("", time.Millisecond, nil, doctor.OK, "takes 1ms")
	check("tmpfs", time.Millisecond, nil, doctor.Wrong, "in memory")
	check("nfs", time.Millisecond, nil, doctor.Warn, "of the network")
	check("", 80*time.Millisecond, nil, doctor.Warn, "takes 80ms")
	check("", time.Microsecond, nil, doctor.Warn, "too good")
	check("", 0, errors.New("permission denied"), doctor.Wrong, "permission denied")

	dir := t.TempDir()
	n := doctor.About("spool", "")
	Disk(n, dir)
	if left, _ := os.ReadDir(dir); len(left) != 0 || len(n.Findings) == 0 {
		t.Errorf("%v, left: %v", n.Findings, left)
	}
	n = doctor.About("spool", "")
	Disk(n, filepath.Join(dir, "gone"))
	expect(t, n.Findings, doctor.Wrong, "nothing can be written")
}

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		level doctor.Level
		text  string
	}{
		dir: {doctor.OK, "can be written to"}, filepath.Join(dir, "to", "come"): {doctor.OK, "can be written to"}, filepath.Join(dir, "file", "x"): {doctor.Wrong, "file is not a directory"},
		"/proc/self/x": {doctor.Wrong, "nothing can be written"},
	} {
		n := doctor.About("routes", "")
		Writable(n, path)
		if path == "/proc/self/x" && (os.Getuid() == 0 || len(n.Findings) == 0) {
			continue // root may, says the kernel
		}
		expect(t, n.Findings, want.level, want.text)
	}
}
