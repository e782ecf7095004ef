package integration

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// submit sends a message with `caddy msa send` and returns the dialogue.
func (s *server) submit(args ...string) (string, error) {
	s.t.Helper()
	cmd := exec.Command(binary, append([]string{"msa", "send", "--server", s.starttls, "--server-name", hostname, "--ca", s.root(),
		"--user", "alice@example.org", "--password", "secret"}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// what was submitted is what is delivered, and it can be found by its queue id.
func TestSubmission(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	message := "From: alice@example.org\r\nSubject: octets\r\n\r\n.dot\r\n..\r\n8-bit: \xe9\xff\r\n" + strings.Repeat("x", 5000) + "\r\n\r\n"
	s.write("message.eml", message)
	out, err := s.submit("--to", "bob@example.net", "--file", filepath.Join(s.dir, "message.eml"))
	if err != nil {
		t.Fatal(err, out)
	}
	_, id, _ := strings.Cut(out, "queued as ")
	id, _, _ = strings.Cut(id, "\n")
	got := s.mail("bob@example.net", 1)[0]
	if !bytes.Equal(untraced(t, got), []byte(message)) {
		t.Errorf("delivered:\n%q\nsubmitted:\n%q", got, message)
	}
	if id == "" || !strings.Contains(string(got), id) {
		t.Errorf("%q is not in Received", id)
	}
	s.logged(id)
}

// What was accepted and not delivered yet is delivered after a restart, however the
// process ended.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.writeUsers("")
	// At first the sink's place is taken by a file, so delivery has to wait.
	config := s.caddyfile(layout{msa: "queue {\n retry 100ms\n}"})
	s.write("Caddyfile", config)
	s.write("mail", "")
	s.run()
	for _, end := range []func(){s.kill, s.stop} {
		if out, err := s.submit("--to", "bob@example.net"); err != nil {
			t.Fatal(err, out)
		}
		end()
		s.run()
	}
	if err := os.Remove(filepath.Join(s.dir, "mail")); err != nil {
		t.Fatal(err)
	}
	s.mail("bob@example.net", 2)
}

// A configuration that does not load leaves the old one in charge, and says what is wrong.
func TestBadReload(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	status, body := s.load(s.caddyfile(layout{auth: "auth {\n file $DIR/none\n}"}))
	if status != http.StatusBadRequest || !strings.Contains(body, "none: no such file") {
		t.Errorf("%d %s", status, body)
	}
	if out, err := s.submit("--to", "bob@example.net"); err != nil {
		t.Error(err, out)
	}
	if status, body := s.load(s.caddyfile(layout{msa: "policy sender_identity off"})); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if out, err := s.submit("--to", "bob@example.net", "--from", "anyone@example.com"); err != nil {
		t.Error(err, out)
	}
}
