package integration

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Users change in every way there is, while sessions are open: the very next AUTH sees it on
// connections old and new, and an open session of a user with another password submits no more.
func TestAuthReloads(t *testing.T) {
	t.Parallel()
	l := layout{auth: "auth {\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}"}
	s := start(t, l)
	passwordIs := func(password string) { s.write("users.passwd", "alice@example.org:{PLAIN}"+password+"\n") }
	post := func(path string) (int, string) { return s.adminRequest(http.MethodPost, path, "") }
	auth := "/config/apps/msa/servers/" + hostname + "/auth/backends/0"

	// From here on the file is not the one that is watched, so that each way has to work by itself.
	other := func(password string) string {
		name := filepath.Join(s.dir, password+".passwd")
		s.write(password+".passwd", "alice@example.org:{PLAIN}"+password+"\n")
		return name
	}
	current := "secret"
	for i, way := range []struct {
		name   string
		change func(password string)
	}{
		{"POST /msa/reload/auth", func(password string) {
			passwordIs(password)
			if status, body := post("/msa/reload/auth"); status != http.StatusOK || !strings.Contains(body, `"file"`) {
				t.Error(status, body)
			}
		}},
		{"caddy msa auth reload", func(password string) {
			passwordIs(password)
			if out, err := exec.Command(binary, "msa", "auth", "reload", "--address", s.admin).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}},
		{"PATCH of the backend", func(password string) {
			if status, body := s.adminRequest(http.MethodPatch, auth, `{"@id": "users", "module": "file", "path": "`+other(password)+`"}`); status != http.StatusOK {
				t.Error(status, body)
			}
		}},
		{"PATCH by @id", func(password string) {
			if status, body := s.adminRequest(http.MethodPatch, "/id/users/path", `"`+other(password)+`"`); status != http.StatusOK {
				t.Error(status, body)
			}
		}},
		{"caddy reload", func(password string) {
			l.auth = "auth {\n\t\tfile " + other(password) + "\n\t\tthrottle off\n\t}"
			s.write("Caddyfile", s.caddyfile(l))
			cmd := exec.Command(binary, "reload", "--config", filepath.Join(s.dir, "Caddyfile"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}},
	} {
		next := fmt.Sprint("changed", i)
		t.Run(way.name, func(t *testing.T) { s.changePassword(t, current, next, way.change) })
		current = next
	}
}

// SIGUSR1 has Caddy load its file again, as long as no other way was used before.
func TestReloadBySignal(t *testing.T) {
	t.Parallel()
	l := layout{auth: "auth {\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}"}
	s := start(t, l)
	s.changePassword(t, "secret", "changed", func(password string) {
		s.write("signal.passwd", "alice@example.org:{PLAIN}"+password+"\n")
		l.auth = strings.ReplaceAll(l.auth, "users.passwd", "signal.passwd")
		s.write("Caddyfile", s.caddyfile(l))
		ups := strings.Count(s.log.String(), "submission server is up")
		if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		s.await("the reload", func() bool { return strings.Count(s.log.String(), "submission server is up") > ups })
	})
}

// changePassword opens sessions, has alice's password changed, and looks at what each gets.
func (s *server) changePassword(t *testing.T, before, after string, change func(password string)) {
	t.Helper()
	open := func() *talker {
		c, err := connect("tcp", s.implicit, s.tlsConfig())
		if err == nil {
			err = c.do("250", "EHLO client.example")
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	idle, authenticated := open(), open()
	defer idle.close()
	defer authenticated.close()
	if err := authenticated.login("alice@example.org", before); err != nil {
		t.Fatal(err)
	}
	change(after)
	for name, c := range map[string]*talker{"an old connection": idle, "a new connection": open()} {
		if err := c.login("alice@example.org", before); err == nil {
			t.Errorf("%s: the old password counts", name)
		}
		if err := c.login("alice@example.org", after); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := authenticated.do("421 4.7.0", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error("an open session of the old password:", err)
	}
}

// What does not parse leaves the old users in place, and is told to who asked.
func TestBrokenAuthReload(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	s.write("users.passwd", "alice@example.org:{ROT13}nonsense\n")
	if status, body := s.adminRequest(http.MethodPost, "/msa/reload/auth", ""); status != http.StatusUnprocessableEntity || !strings.Contains(body, "line 1") {
		t.Error(status, body)
	}
	if code := s.authAs("alice@example.org", "secret"); code != "235" {
		t.Error("the old users are gone:", code)
	}
	if status, body := s.adminRequest(http.MethodGet, "/msa/reload/auth", ""); status != http.StatusMethodNotAllowed {
		t.Error(status, body)
	}
}

// The command says who would be let in, how, and never with a secret in its words.
func TestAuthTest(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.write("Caddyfile", s.caddyfile(layout{auth: "auth {\n\t\tmechanisms SCRAM-SHA-256-PLUS SCRAM-SHA-256 DIGEST-MD5 PLAIN LOGIN\n\t\tfile $DIR/users.passwd\n\t\tfile $DIR/more.passwd\n\t}"}))
	s.writeUsers("")
	s.write("more.passwd", "carol:{SCRAM-SHA-256}4096,HGMXMkW2aDY4iSzpRb+Kwg==,7Vw0lKG0HRbIvwlJPcyzqNcbCDd+CZs2DX6oVeQYm6E=,OZ8W+c4Ri8ucTxY8ZPcCZ5A9yJ4lrOVYTKTMGdvUkBM=::::::addresses=@example.org\n")
	s.run()
	ask := func(stdin string, args ...string) (string, bool) {
		cmd := exec.Command(binary, append([]string{"msa", "auth", "test", "--address", s.admin}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		cmd.Env = append(os.Environ(), "HOME="+s.dir)
		out, err := cmd.CombinedOutput()
		return string(out), err == nil
	}
	out, ok := ask("secret\n", "alice@example.org")
	if !ok || !strings.Contains(out, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 DIGEST-MD5 PLAIN LOGIN") || !strings.Contains(out, "refused") || strings.Contains(out, "secret") {
		t.Errorf("the right password:\n%s", out)
	}
	if out, ok := ask("wrong\n", "alice@example.org"); ok || strings.Contains(out, "accepted") || !strings.Contains(out, "no backend accepts") ||
		!strings.Contains(out, "refused: wrong password") || !strings.Contains(out, "refused: unknown user") {
		t.Errorf("a wrong password:\n%s", out)
	}
	if out, ok := ask("", "--no-password", "carol"); !ok || !strings.Contains(out, "file#2   known") || !strings.Contains(out, "@example.org") || strings.Contains(out, "DIGEST") {
		t.Errorf("without a password:\n%s", out)
	}
	if out, ok := ask("", "--no-password", "--server", "none", "carol"); ok || !strings.Contains(out, "there is no server") {
		t.Errorf("no such server:\n%s", out)
	}
}

// Backends are asked in order: unknown goes on to the next, "cannot tell" ends with 454 and never
// 535, is an error in the log and counts in the metrics (docs/dev/architecture.md, decision 4).
func TestChain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	down := freeAddress(t)
	s.write("Caddyfile", s.caddyfile(layout{auth: "auth {\n\t\tmechanisms PLAIN\n\t\tfile $DIR/first.passwd\n\t\thttp http://" + down + "\n\t\tfile $DIR/users.passwd\n\t}"}))
	s.writeUsers("")
	s.write("first.passwd", "carol@example.org:{PLAIN}secret\n")
	s.run()
	for _, tt := range []struct{ user, password, want string }{
		{"carol@example.org", "secret", "235"}, // the first says yes
		{"carol@example.org", "wrong", "454"},  // the second might know better
		{"alice@example.org", "secret", "454"}, // and so might the third, which is not asked
	} {
		if code := s.authAs(tt.user, tt.password); code != tt.want {
			t.Errorf("%s with %s: %s, want %s", tt.user, tt.password, code, tt.want)
		}
	}
	s.await("a line in the log that says which backend cannot tell", func() bool {
		log := s.log.String()
		return strings.Contains(log, `"msg":"authentication could not be decided"`) && strings.Contains(log, "backend http: ")
	})
	if _, text := s.adminRequest(http.MethodGet, "/metrics", ""); !strings.Contains(text, `caddy_msa_auth_backend_failures_total{backend="http",server="`+hostname+`"} 2`) {
		t.Errorf("metrics:\n%s", text)
	}
}
