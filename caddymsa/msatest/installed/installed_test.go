package installed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stand makes a program on a path of its own.
func stand(t *testing.T, name, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return dir
}

// A program that is there and does not work is not present.
func TestBrokenStandIns(t *testing.T) {
	for name, script := range map[string]string{
		"fails":                  "exit 1",
		"is silent":              "exit 0",
		"lacks a library":        "echo 'error while loading shared libraries: libx.so: cannot open shared object file' >&2; exit 127",
		"is another of the name": "echo 'usage: nothing of the kind'",
	} {
		t.Run(name, func(t *testing.T) {
			for peer, p := range catalogue {
				p.Dirs = nil
				dir := stand(t, p.Program, script)
				if p.By != "" {
					p.Program, dir = p.By, stand(t, p.By, script)
				}
				if err := p.probe(filepath.Join(dir, p.Program)); err == nil {
					t.Errorf("%s: a stand-in that %s counts as present", peer, name)
				}
			}
		})
	}
}

// Node without nodemailer, Python without dkim, swaks without TLS: the program works, and what
// is needed of it does not.
func TestHalfInstalled(t *testing.T) {
	for peer, script := range map[string]string{
		"nodemailer":    `echo "Error: Cannot find module 'nodemailer'" >&2; exit 1`,
		"python3-dkim":  `echo "ModuleNotFoundError: No module named 'dkim'" >&2; exit 1`,
		"swaks":         `echo "=== Basic AUTH supported"; echo "*** TLS not available: requires Net::SSLeay"`,
		"curl":          `echo "curl 8.0.0"; echo "Protocols: file http"`,
		"msmtp":         `echo "msmtp version 1.8.23"; echo "TLS/SSL library: none"`,
		"dovecot-pop3d": `echo "2.4.0 (abc)"`,
	} {
		p := catalogue[peer]
		dir := stand(t, p.Program, script)
		err := p.probe(filepath.Join(dir, p.Program))
		if err == nil || !strings.Contains(err.Error(), "says") {
			t.Errorf("%s: %v", peer, err)
		}
	}
}

// What comes first on the path and is broken does not hide what works behind it.
func TestWorksBehindBroken(t *testing.T) {
	broken, works := stand(t, "gsasl", "exit 1"), stand(t, "gsasl", "echo 'gsasl (GNU SASL) 2.2.0'")
	t.Setenv("PATH", broken+":"+works+":/usr/bin:/bin")
	if path, err := catalogue["gsasl"].find(); err != nil || path != filepath.Join(works, "gsasl") {
		t.Errorf("%s, %v", path, err)
	}
}

// Nothing at all: named with what it would take.
func TestAbsent(t *testing.T) {
	p := Program{Program: "no-such-program-anywhere", Package: "none"}
	if _, err := p.find(); err == nil || !strings.Contains(err.Error(), "is not installed") {
		t.Error(err)
	}
}

// skipped is a test that is told to skip or to fail.
type skipped struct {
	testing.TB
	how string
}

func (s *skipped) Helper()               {}
func (s *skipped) Skipf(string, ...any)  { s.how = "skip" }
func (s *skipped) Fatalf(string, ...any) { s.how = "fail" }

// In CI a missing peer fails the test; elsewhere it is skipped, and named at the end.
func TestLack(t *testing.T) {
	for ci, want := range map[string]string{"true": "fail", "": "skip"} {
		t.Setenv("CI", ci)
		s := &skipped{TB: t}
		Lack(s, "some-package-"+want, os.ErrNotExist)
		if s.how != want {
			t.Errorf("CI=%q: %s, want %s", ci, s.how, want)
		}
	}
	if all := strings.Join(Lacking(), " "); !strings.Contains(all, "some-package-skip") {
		t.Errorf("not named: %s", all)
	}
}
