package integration

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// msa runs `caddy msa <args>` against the server.
func (s *server) msa(args ...string) (out string, ok bool) {
	s.t.Helper()
	cmd := exec.Command(binary, append([]string{"msa"}, args...)...)
	cmd.Args = append(cmd.Args, "--address", s.admin)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "NO_COLOR=1")
	b, err := cmd.CombinedOutput()
	return string(b), err == nil
}

func (s *server) mustMSA(args ...string) string {
	s.t.Helper()
	out, ok := s.msa(args...)
	if !ok {
		s.t.Fatalf("caddy msa %s:\n%s", strings.Join(args, " "), out)
	}
	return out
}

func (s *server) refusedMSA(want string, args ...string) {
	s.t.Helper()
	if out, ok := s.msa(args...); ok || !strings.Contains(out, want) {
		s.t.Errorf("caddy msa %s: %v, without %q:\n%s", strings.Join(args, " "), ok, want, out)
	}
}

// The operator sees what is queued and steers it: every command of caddy msa queue, and what it
// says when it cannot be done.
func TestQueueCommands(t *testing.T) {
	t.Parallel()
	down := freeAddress(t)
	s := start(t, layout{global: "", msa: `
	@far recipient_domain far.example
	deliver @far relay ` + down + ` {
		tls off
		timeouts {
			connect 1s
		}
	}
	@gone recipient_domain gone.example
	deliver @gone maildir $DIR/none/{msa.recipient.local} {
	}
	@near recipient_domain example.org example.net
	deliver @near maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	queue {
		retry 1h
		dead_letters 1d
		show_content
	}`})
	trust := s.tlsConfig()
	send := func(to, subject string) string {
		t.Helper()
		return s.mustSend(trust, "alice@example.org", "alice@example.org", to, "From: alice@example.org\r\nSubject: "+subject+"\r\n\r\nHello\r\n")
	}
	if out := s.mustMSA("queue", "list"); !strings.Contains(out, "no messages") {
		t.Errorf("an empty queue:\n%s", out)
	}
	first, second, third := send("bob@far.example", "one"), send("carol@far.example", "two"), send("dave@far.example", "three")
	s.await("the first attempt", func() bool { return strings.Contains(s.mustMSA("queue", "show", first), "connection refused") })

	_, metrics := s.adminRequest(http.MethodGet, "/metrics", "")
	for _, want := range []string{
		`spool_messages\{spool="file:[^"]*/spool"\} 3`, `spool_up\{spool="file:[^"]*/spool"\} 1`, `queue_messages\{spool="file:[^"]*/spool",state="queued"\} 3`,
		`spool_free_octets\{.*\} [1-9].*`, `spool_reserve_octets\{.*\} [1-9].*`, `certificate_expiry_seconds\{certificate="managed",server="` + hostname + `"\} [1-9].*`,
	} {
		if !regexp.MustCompile(`(?m)^caddy_msa_` + want + `$`).MatchString(metrics) {
			t.Errorf("without %s, the metrics are:\n%s", want, metrics)
		}
	}

	out := s.mustMSA("queue", "list")
	for _, want := range []string{first, second, third, "alice@example.org", "bob@far.example", "queued", "connection refused"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the list:\n%s", want, out)
		}
	}
	if out := s.mustMSA("queue", "list", "--limit", "2"); strings.Contains(out, third) || !strings.Contains(out, "--after "+second) {
		t.Errorf("a page of two:\n%s", out)
	}
	if out := s.mustMSA("queue", "list", "--after", second); strings.Contains(out, first) || !strings.Contains(out, third) {
		t.Errorf("the page behind:\n%s", out)
	}
	if out := s.mustMSA("queue", "list", "--recipient", "CAROL", "--json"); strings.Count(out, "\n") != 1 {
		t.Errorf("filtered:\n%s", out)
	} else {
		var e queue.Entry
		if err := json.Unmarshal([]byte(out), &e); err != nil || e.ID != second || e.User != "alice@example.org" || e.Session == "" || e.Mechanism == "" {
			t.Errorf("%+v, %v", e, err)
		}
	}
	s.refusedMSA("use queued, held or dead", "queue", "list", "--state", "lost")
	s.refusedMSA("there is no message NONE", "queue", "show", "NONE")

	// hold, release, retry
	s.mustMSA("queue", "hold", first, "--reason", "court order")
	if out := s.mustMSA("queue", "list", "--state", "held"); !strings.Contains(out, first) || !strings.Contains(out, "court order") || strings.Contains(out, second) {
		t.Errorf("held:\n%s", out)
	}
	s.refusedMSA("it is held: release it", "queue", "retry", first)
	s.refusedMSA("held already", "queue", "hold", first)
	s.refusedMSA("not held", "queue", "release", second)
	s.mustMSA("queue", "release", first)
	s.await("the attempt after release", func() bool {
		out := s.mustMSA("queue", "show", first)
		return strings.Contains(out, "held  court order") && strings.Contains(out, "released")
	})
	if out := s.mustMSA("queue", "retry", "--all", "--recipient", "far.example"); !strings.Contains(out, "3 messages to be tried now") {
		t.Error(out)
	}
	s.refusedMSA("name messages by their ids, or use --all", "queue", "retry")

	// cat, and who read it is in the log
	if out := s.mustMSA("queue", "cat", second); !strings.HasPrefix(out, "Received: ") || !strings.HasSuffix(out, "Subject: two\r\n\r\nHello\r\n") {
		t.Errorf("content:\n%q", out)
	}
	s.await("who read it", func() bool {
		return strings.Contains(s.log.String(), "content of a message read by an administrator")
	})

	// bounce: the sender reads why
	s.refusedMSA("this cannot be taken back: add --yes", "queue", "bounce", second)
	s.mustMSA("queue", "bounce", second, "--yes", "--reason", "wrong address, says the help desk")
	bounce := s.mail("alice@example.org", 1)[0]
	if !bytes.Contains(bounce, []byte("wrong address, says the help desk")) || !bytes.Contains(bounce, []byte("Final-Recipient: rfc822; carol@far.example")) {
		t.Errorf("bounce:\n%s", bounce)
	}
	// a dead letter, tried again
	if out := s.mustMSA("queue", "list", "--state", "dead"); !strings.Contains(out, second) {
		t.Errorf("dead:\n%s", out)
	}
	s.mustMSA("queue", "retry", second)
	s.await("the dead letter's new attempt", func() bool { return strings.Contains(s.mustMSA("queue", "list", "--state", "queued"), second) })

	// reroute, delete
	s.refusedMSA("there is no server", "queue", "reroute", second, "--to", "nowhere")
	s.mustMSA("queue", "reroute", second, "--to", hostname)
	s.mustMSA("queue", "delete", "--yes", "--all", "--recipient", "far.example")
	if out := s.mustMSA("queue", "list"); !strings.Contains(out, "no messages") {
		t.Errorf("after all were deleted:\n%s", out)
	}

	// trace: from the journal, and from the log, once the queue has forgotten
	logFile := filepath.Join(s.dir, "log.json")
	if err := os.WriteFile(logFile, []byte(s.log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.mustMSA("trace", second); !strings.Contains(out, "deleted  carol@far.example") || !strings.Contains(out, "rerouted\n    to "+hostname) {
		t.Errorf("the journal's story:\n%s", out)
	}
	out = s.mustMSA("trace", second, "--log", logFile)
	for _, want := range []string{"message accepted", "sender told of the failure", "delivery delivered", "queue action", "session ended"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the trace:\n%s", want, out)
		}
	}
	if out := s.mustMSA("trace", first, "--log", logFile); !strings.Contains(out, "delivery deferred") || !strings.Contains(out, "connection refused") {
		t.Errorf("no attempt in the trace:\n%s", out)
	}
	if strings.Contains(out, third) {
		t.Errorf("another message's lines in the trace:\n%s", out)
	}
}

// The admin API's parts for reading and for acting are under paths of their own, and say what is wrong.
func TestQueueAPI(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/msa/queue", "", 200, `{"entries":[]}`},
		{"GET", "/msa/queue/NONE", "", 404, "there is no message NONE"},
		{"GET", "/msa/queue?limit=0", "", 400, "limit"},
		{"GET", "/msa/queue?colour=red", "", 400, "unknown filter"},
		{"GET", "/msa/queue?older=long", "", 400, "older"},
		{"POST", "/msa/queue", "{}", 405, "use GET"},
		{"GET", "/msa/queue-actions/delete", "", 405, "use POST"},
		{"POST", "/msa/queue-actions/delete", "{}", 400, "1 to 1000"},
		{"POST", "/msa/queue-actions/delete", `{"id": "x"}`, 400, "cannot be read"},
		{"POST", "/msa/queue-actions/delete", `{"ids": ["NONE"]}`, 200, `"failed":{"NONE":"there is no message`},
		{"POST", "/msa/queue-actions/melt", `{"ids": ["NONE"]}`, 404, ""},
		{"GET", "/msa/queue-content/NONE", "", 403, "show_content"},
	} {
		status, answer := s.adminRequest(tt.method, tt.path, tt.body)
		if status != tt.status || !strings.Contains(answer, tt.want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", tt.method, tt.path, tt.body, status, answer, tt.status, tt.want)
		}
	}
}
