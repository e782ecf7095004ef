package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A configuration that does not load leaves the old one in charge. caddy reload says what is wrong, and names no line, which
// only the old Caddyfile would have; caddy validate does.
func TestReloadRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.write("Caddyfile", s.caddyfile(layout{}))
	s.writeUsers("")
	s.run()
	file := filepath.Join(s.dir, "Caddyfile")
	bad := "# a line that was not there\n" + strings.Replace(s.caddyfile(layout{}), "spool file", "spool file /proc/nowhere\n#", 1)
	s.write("Caddyfile", bad)
	out, err := exec.Command(binary, "reload", "--config", file).CombinedOutput()
	if text := string(out); err == nil || !strings.Contains(text, "spool: spool directory /proc/nowhere") || strings.Contains(text, ", at ") {
		t.Errorf("%v: %s", err, text)
	}
	bad = "# a line that was not there\n" + strings.Replace(s.caddyfile(layout{}), "users.passwd", "nobody.passwd", 1)
	s.write("Caddyfile", bad)
	out, err = exec.Command(binary, "reload", "--config", file).CombinedOutput()
	if text := string(out); err == nil || !strings.Contains(text, "the first auth backend of server") || !strings.Contains(text, "nobody.passwd: no such file") || strings.Contains(text, ", at ") {
		t.Errorf("%v: %s", err, text)
	}
	out, err = exec.Command(binary, "validate", "--config", file).CombinedOutput()
	if text := string(out); err == nil || !strings.Contains(text, "nobody.passwd: no such file or directory, at "+file+":") {
		t.Errorf("%v: %s", err, text)
	}
	if _, err := s.alice(s.tlsConfig()); err != nil {
		t.Error("the old configuration is not in charge:", err)
	}
}
