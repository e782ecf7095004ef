package integration

import (
	"errors"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// authAs tries a password on a connection of its own and returns the reply's code.
func (s *server) authAs(user, password string) string {
	s.t.Helper()
	c, err := connect("tcp", s.implicit, s.tlsConfig())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.close()
	if err := c.do("250", "EHLO client.example"); err != nil {
		s.t.Fatal(err)
	}
	err = c.login(user, password)
	refused := new(unexpected)
	switch {
	case err == nil:
		return "235"
	case errors.As(err, &refused):
		code, _, _ := strings.Cut(refused.got, " ")
		return code
	}
	s.t.Fatal(err)
	return ""
}

// undecided has users log in, at once since each waits for whom the backend waits, who hear that nobody can tell.
func (s *server) undecided(when string, users ...string) {
	s.t.Helper()
	var all sync.WaitGroup
	for _, user := range users {
		all.Go(func() {
			if code := s.authAs(user, "secret"); code != "454" {
				s.t.Errorf("%s %s: %s", user, when, code)
			}
		})
	}
	all.Wait()
}

// Guessing one user's password from one network is blocked there, whatever comes next; the
// block outlives a reload, other users do not notice, and fail2ban can read who it was.
func TestThrottle(t *testing.T) {
	t.Parallel()
	l := layout{auth: `auth {
		file $DIR/users.passwd
		throttle {
			failures 3
			delay    1ms
		}
	}`}
	s := start(t, l)
	for range 3 {
		if code := s.authAs("alice@example.org", "guess"); code != "535" {
			t.Errorf("a guess: %s", code)
		}
	}
	check := func() {
		t.Helper()
		if code := s.authAs("alice@example.org", "secret"); code != "421" {
			t.Errorf("the right password after three guesses: %s", code)
		}
		if code := s.authAs("bob@example.net", "hunter2"); code != "235" {
			t.Errorf("another user: %s", code)
		}
	}
	check()
	if status, body := s.load(s.caddyfile(l) + "# again\n"); status != http.StatusOK {
		t.Fatal(status, body)
	}
	check()

	// docs/auth.md has these two lines for fail2ban.
	regex := need(t, "fail2ban-regex")
	s.write("filter.conf", fenced(t, "../docs/auth.md", "ini")[0])
	s.await("the guesses in the log", func() bool { return strings.Count(s.log.String(), `"msg":"authentication failed"`) >= 3 })
	s.write("caddy.log", s.log.String())
	out, err := exec.Command(regex, "--print-all-matched", filepath.Join(s.dir, "caddy.log"), filepath.Join(s.dir, "filter.conf")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), ", 3 matched,") {
		t.Errorf("fail2ban: %v\n%s", err, out)
	}
}
