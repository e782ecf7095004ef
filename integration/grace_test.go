package integration

import (
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The grace period counts once, for a reload and for the end of the process, whoever holds out: a client that is silent,
// a transaction under way, and calls into modules that do not heed their contexts, which the log names.
// (docs/dev/architecture.md, decision 14)
func TestGracePeriod(t *testing.T) {
	t.Parallel()
	const grace = 20 * time.Second // twice of which is told from once on a busy machine too
	deaf := filepath.Join(t.TempDir(), "caddy")
	if err := link(".", nil, deaf, "./testdata/deaf"); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"reload", "stop"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.binary = deaf
			caddyfile := strings.ReplaceAll(s.caddyfile(layout{
				global: "events {\n on message_accepted deaf\n}",
				msa:    "policy sender_identity off\n policy deaf\n deliver deaf",
			}), "grace_period 5s", "grace_period "+grace.String())
			s.write("Caddyfile", caddyfile)
			s.writeUsers("")
			s.run()
			trust := s.tlsConfig()
			session := func() *talker {
				c, err := s.alice(trust)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.close)
				return c
			}
			session() // is silent
			transaction := session()
			if err := all(
				func() error { return transaction.envelope("alice@example.org", "bob@example.net") },
				func() error { return transaction.do("354", "DATA") },
				func() error { return transaction.send("Subject: half\r\n") },
			); err != nil {
				t.Fatal(err)
			}
			if _, err := session().submit("alice@example.org", "bob@example.net", "Subject: to the deaf sink\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if err := session().send("MAIL FROM:<deaf@example.org>\r\n"); err != nil {
				t.Fatal(err)
			}
			s.await("the delivery", func() bool {
				_, queue := s.adminRequest(http.MethodGet, "/msa/queue", "")
				return strings.Contains(queue, `"in_flight":1`)
			})
			s.logged("the policy was asked")
			s.logged("the handler was told")

			began := time.Now()
			if end == "reload" {
				if status, answer := s.load(strings.Replace(caddyfile, "policy deaf", "policy size 1MiB", 1)); status != http.StatusOK {
					t.Fatal(status, answer)
				}
			} else {
				if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				<-s.exited
			}
			took := time.Since(began)
			tell("integration: a %s with a grace period of %s took %s although modules did not heed their contexts", end, grace, took.Round(10*time.Millisecond))
			if took > grace*7/4 {
				t.Errorf("a grace period of %s took %s", grace, took)
			}
			for _, line := range []string{`"module":"policy deaf"`, "a handler of events does not end; it is left behind"} {
				s.await("the log to say "+line, func() bool { return strings.Contains(s.log.String(), line) })
			}
			if end == "reload" { // the transaction goes on with the new configuration
				if err := transaction.send("\r\nwhole\r\n.\r\n"); err != nil {
					t.Fatal(err)
				}
				if _, err := transaction.queued(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
