package integration

import (
	"context"
	"os/exec"
	"strings"
	"testing"
)

// saslAttempt runs a program that authenticates, and returns what it said. Nothing is on its
// standard input.
func saslAttempt(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, _ := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s hangs:\n%s", program, out)
	}
	return string(out)
}

// a wrong password and an unknown user are the same 535 to everybody's client, by every
// mechanism and on each port that it can use; with the right password the same command logs in.
//
// gsasl has no implicit TLS. SCRAM-SHA-256-PLUS is gsasl's alone, over TLS 1.3, where it binds to
// tls-exporter. With TLS 1.2 it binds to tls-unique, which the server does not know. So does Cyrus 2.1.28
// with TLS 1.3 too, and it names the mechanism without -PLUS, which RFC 5802 section 6 does not let it.
func TestSASLClientsRefused(t *testing.T) {
	t.Parallel()
	const refusal = "535 5.7.8 Authentication credentials invalid"
	s := saslServer(t)
	all := []string{"DIGEST-MD5", "PLAIN", "LOGIN", "SCRAM-SHA-256"}
	curl := func(url string) func(mechanism, user, password string) []string {
		return func(mechanism, user, password string) []string { // without a message: it says HELP or VRFY
			return []string{"--silent", "--show-error", "--verbose", "--ssl-reqd", "--cacert", s.root(), "--url", url + "/client.example",
				"--login-options", "AUTH=" + mechanism, "--user", user + ":" + password}
		}
	}
	for _, client := range []struct {
		name, program string
		args          func(mechanism, user, password string) []string
		mechanisms    []string
	}{
		{"gsasl", "gsasl", s.gsasl, append(all[:4:4], "SCRAM-SHA-256-PLUS")},
		{"Cyrus, STARTTLS", "smtptest", func(mechanism, user, password string) []string {
			return s.cyrus(s.starttls, mechanism, user, password, "-t", "")
		}, all},
		{"Cyrus, implicit TLS", "smtptest", func(mechanism, user, password string) []string {
			return s.cyrus(s.implicit, mechanism, user, password, "-s")
		}, all},
		{"curl, STARTTLS", "curl", curl("smtp://localhost:" + port(s.starttls)), all[:3]},
		{"curl, implicit TLS", "curl", curl("smtps://localhost:" + port(s.implicit)), all[:3]},
	} {
		t.Run(client.name, func(t *testing.T) {
			program := need(t, client.program)
			for _, mechanism := range client.mechanisms {
				for _, try := range []struct{ user, password, want, not string }{
					{"alice@example.org", "secret", "235 2.7.0", "535 "},
					{"alice", "secret", "235 2.7.0", "535 "},
					{"alice@example.org", "wrong", refusal, "235 2.7.0"},
					{"alice", "wrong", refusal, "235 2.7.0"},
					{"nobody@example.org", "secret", refusal, "235 2.7.0"},
				} {
					out := saslAttempt(t, program, client.args(mechanism, try.user, try.password)...)
					if !strings.Contains(out, try.want) || strings.Contains(out, try.not) {
						t.Errorf("%s as %s with %q: want %s\n%s", mechanism, try.user, try.password, try.want, out)
					}
				}
			}
		})
	}
}
