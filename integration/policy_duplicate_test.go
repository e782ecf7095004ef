package integration

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const remember = `
	policy duplicate {
		file $DIR/accepted
	}
	queue {
		retry 100ms
	}`

// queuedIDs are those that the log has of accepted messages, and how often it says accepted before.
func (s *server) queuedIDs() (ids []string, again int) {
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"message accepted before"`) {
			again++
		} else if _, rest, ok := strings.Cut(line, `"queue_id":"`); ok && strings.Contains(line, `"message accepted"`) {
			id, _, _ := strings.Cut(rest, `"`)
			ids = append(ids, id)
		}
	}
	return ids, again
}

// A client that was gone before it could read the 250 sends the message again: it gets the first
// queue id, and there is one delivery. Over a reload and a crash as well.
func TestDuplicate(t *testing.T) {
	t.Parallel()
	program := need(t, "swaks")
	s := start(t, layout{msa: remember})
	dir := t.TempDir()
	message := filepath.Join(dir, "message")
	if err := os.WriteFile(message, []byte(strings.TrimSuffix(letter("once"), "\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	send := func(args ...string) string {
		out, err := exec.Command(program, append([]string{"--server", "127.0.0.1", "--port", port(s.implicit), "--tls-on-connect", "--helo", "client.example", "--auth", "PLAIN",
			"--auth-user", "alice@example.org", "--auth-password", "secret", "--from", "alice@example.org", "--to", "bob@example.net", "--data", "@" + message, "--timeout", "60"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if out := send("--drop-after-send", "DOT"); strings.Contains(out, "queued as") {
		t.Fatalf("it read the answer:\n%s", out)
	}
	s.logged(`"message accepted"`)
	ids, _ := s.queuedIDs()
	if len(ids) != 1 {
		t.Fatalf("accepted: %q", ids)
	}
	for i, meanwhile := range []func(){
		func() {},
		func() {
			if status, body := s.load(s.caddyfile(layout{msa: remember + "\n\tlimits {\n\t\trecipients 200\n\t}"})); status != http.StatusOK {
				t.Fatal(status, body)
			}
		},
		func() { s.kill(); s.run() },
		func() { s.stop(); s.run() },
	} {
		meanwhile()
		if out := send(); !strings.Contains(out, "250 2.0.0 Ok: queued as "+ids[0]) {
			t.Errorf("time %d, not %s:\n%s", i, ids[0], out)
		}
	}
	// What is sent last is delivered last.
	if err := os.WriteFile(message, []byte(strings.TrimSuffix(letter("twice"), "\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	send()
	if got := s.mail("bob@example.net", 2); len(got) != 2 {
		t.Errorf("%d deliveries", len(got))
	}
	await(t, "the second message in the log", func() bool { ids, _ := s.queuedIDs(); return len(ids) >= 2 }) // which may come after the message
	if ids, again := s.queuedIDs(); len(ids) != 2 || again != 4 {
		t.Errorf("accepted %q, and %d before", ids, again)
	}
}

// The server is killed at the moment that the message is durable, as early as that can be seen.
func TestDuplicateKilled(t *testing.T) {
	t.Parallel()
	s := start(t, layout{msa: remember})
	for i := range 5 {
		subject := string(rune('a' + i))
		c, err := s.as(s.tlsConfig(), "alice@example.org")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.envelope("alice@example.org", "bob@example.net"); err != nil {
			t.Fatal(err)
		}
		if err := all(func() error { return c.do("354", "DATA") }, func() error { return c.send(letter(subject) + ".\r\n") }); err != nil {
			t.Fatal(err)
		}
		s.await("the journal", func() bool {
			b, _ := os.ReadFile(filepath.Join(s.dir, "accepted"))
			return len(strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })) >= i+1 && strings.HasSuffix(string(b), "\n")
		})
		s.kill()
		c.close()
		s.run()
		s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter(subject))
	}
	s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter("last"))
	have := make(map[string]int)
	for _, message := range s.mail("bob@example.net", 6) {
		have[subject(message)]++
	}
	for id, n := range have {
		if n != 1 {
			t.Errorf("%s was delivered %d times", id, n)
		}
	}
}
