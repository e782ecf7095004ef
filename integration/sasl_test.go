package integration

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// saslServer calls itself localhost, which clients that check certificates connect to; its
// DIGEST-MD5 realm is another name, which curl also writes where the host belongs. There is a user
// by address and one by a bare name.
func saslServer(t *testing.T) *server {
	t.Helper()
	s := newServer(t)
	text := s.caddyfile(layout{auth: "auth {\n\t\tmechanisms SCRAM-SHA-256-PLUS SCRAM-SHA-256 DIGEST-MD5 PLAIN LOGIN\n\t\tfile $DIR/users.passwd\n\t\trealms " + hostname + "\n\t\tdigest_hosts " + hostname + "\n\t\tthrottle off\n\t}"})
	s.write("Caddyfile", strings.Replace(text, "msa "+hostname, "msa localhost", 1))
	s.writeUsers("alice@example.org:{PLAIN}secret\nalice:{PLAIN}secret::::::addresses=alice@example.org\n")
	s.run()
	return s
}

// gsasl names the server it connects to in its digest-uri. It says "y" for channel binding
// where it could bind but does not, which must be refused, hence --no-cb.
func (s *server) gsasl(mechanism, user, password string) []string {
	args := []string{"--smtp", "--starttls", "--x509-ca-file=" + s.root(), "--connect", "localhost:" + port(s.starttls),
		"--mechanism", mechanism, "--authentication-id", user, "--password", password, "--realm", hostname, "--quality-of-protection", "qop-auth"}
	if mechanism == "SCRAM-SHA-256" {
		args = append(args, "--no-cb")
	}
	return args
}

// Cyrus SASL. Its program does not check certificates.
func (s *server) cyrus(address, mechanism, user, password string, tls ...string) []string {
	return append(tls, "-p", port(address), "-m", mechanism, "-u", user, "-a", user, "-w", password, "-r", hostname, "localhost")
}

// DIGEST-MD5, PLAIN, LOGIN and SCRAM as the libraries of others compute them, for a user
// by address and for one by name in a realm, on both ports. Each then submits.
func TestSASLClients(t *testing.T) {
	t.Parallel()
	s := saslServer(t)
	all := []string{"DIGEST-MD5", "PLAIN", "LOGIN", "SCRAM-SHA-256"}
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
	} {
		t.Run(client.name, func(t *testing.T) {
			program := need(t, client.program)
			sent := 0
			to := strings.Map(func(r rune) rune {
				if r == ' ' || r == ',' {
					return '-'
				}
				return r
			}, strings.ToLower(client.name)) + "@example.net"
			for _, mechanism := range client.mechanisms {
				for _, user := range []string{"alice@example.org", "alice"} {
					out, err := converse(exec.Command(program, client.args(mechanism, user, "secret")...), to)
					if sent++; err != nil {
						t.Errorf("%s as %s: %v\n%s", mechanism, user, err, out)
					}
				}
				out, err := converse(exec.Command(program, client.args(mechanism, "alice@example.org", "wrong")...), to)
				if err == nil || strings.Contains(out, "235 2.7.0") {
					t.Errorf("%s with a wrong password: %v\n%s", mechanism, err, out)
				}
			}
			for _, m := range s.mail(to, sent) {
				if string(untraced(t, m)) != conversed {
					t.Errorf("delivered:\n%q", m)
				}
			}
		})
	}
	refused := func() int { return strings.Count(s.log.String(), `"msg":"authentication failed"`) }
	s.await("the wrong passwords in the log", func() bool { return refused() >= 13 })
	if n := refused(); n != 13 {
		t.Errorf("%d wrong passwords were refused, want 13", n)
	}
}

// curl computes DIGEST-MD5 for the realm that the server offers, on both ports.
func TestCurlDigestMD5(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	s := saslServer(t)
	s.write("message", conversed)
	for i, user := range []string{"alice@example.org", "alice"} {
		for _, url := range []string{"smtp://localhost:" + port(s.starttls), "smtps://localhost:" + port(s.implicit)} {
			cmd := exec.Command(curl, "--silent", "--show-error", "--ssl-reqd", "--cacert", s.root(), "--url", url+"/client.example",
				"--login-options", "AUTH=DIGEST-MD5", "--user", user+":secret", "--mail-from", "alice@example.org",
				"--mail-rcpt", fmt.Sprintf("curl%d@example.net", i), "--upload-file", filepath.Join(s.dir, "message"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s as %s: %v\n%s", url, user, err, out)
			}
		}
		for _, m := range s.mail(fmt.Sprintf("curl%d@example.net", i), 2) {
			if string(untraced(t, m)) != conversed {
				t.Errorf("delivered:\n%q", m)
			}
		}
	}
	cmd := exec.Command(curl, "--silent", "--show-error", "--ssl-reqd", "--cacert", s.root(), "--url", "smtp://localhost:"+port(s.starttls),
		"--login-options", "AUTH=DIGEST-MD5", "--user", "alice:wrong", "--mail-from", "alice@example.org", "--mail-rcpt", "x@example.net",
		"--upload-file", filepath.Join(s.dir, "message"))
	if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != 67 { // login denied
		t.Errorf("a wrong password: %v\n%s", err, out)
	}
}

// conversed is the message that converse submits.
const conversed = "From: alice@example.org\r\nSubject: SASL\r\n\r\n.dot\r\nend\r\n"

// converse lets a program authenticate and then submits through it, as somebody would at
// its terminal. Its error is that the program did not get so far.
func converse(cmd *exec.Cmd, to string) (string, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	out := new(logBuffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	defer func() {
		_ = stdin.Close()
		select {
		case <-exited:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-exited
		}
	}()
	for _, step := range []struct{ await, say string }{
		{"235 2.7.0", "MAIL FROM:<alice@example.org>\r\n"},
		{"250 2.1.0", "RCPT TO:<" + to + ">\r\n"},
		{"250 2.1.5", "DATA\r\n"},
		{"354 ", strings.ReplaceAll(conversed, "\r\n.", "\r\n..") + ".\r\n"},
	} {
		if err := out.await(step.await, exited, nil); err != nil {
			return out.String(), err
		}
		if _, err := io.WriteString(stdin, step.say); err != nil {
			return out.String(), err
		}
	}
	// gsasl takes a line from its buffer only when another one comes; the server says 500 to
	// those that are too many.
	return out.String(), out.await("queued as", exited, func() { _, _ = io.WriteString(stdin, "\r\n") })
}

// await waits until a text is there, for as long as its writer may write; nudge, unless nil, is
// called now and then.
func (l *logBuffer) await(text string, over <-chan struct{}, nudge func()) error {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(l.String(), text) {
			return nil
		}
		if nudge != nil {
			nudge()
		}
		select {
		case <-over:
			if strings.Contains(l.String(), text) {
				return nil
			}
			return fmt.Errorf("it ended before %q", text)
		default:
		}
		if strings.Contains(l.String(), "535 5.7.8") || time.Now().After(end) {
			return fmt.Errorf("%q did not come", text)
		}
	}
}

// gsaslClient is gsasl that computes responses to challenges from elsewhere.
type gsaslClient struct {
	stdin io.Writer
	out   *logBuffer
	read  int // octets of out
}

func startGsasl(t *testing.T, args ...string) *gsaslClient {
	t.Helper()
	cmd := exec.Command(need(t, "gsasl"), args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	g := &gsaslClient{stdin: stdin, out: new(logBuffer)}
	cmd.Stdout, cmd.Stderr = g.out, g.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return g
}

// say gives it a challenge in base64.
func (g *gsaslClient) say(t *testing.T, challenge string) {
	t.Helper()
	if _, err := io.WriteString(g.stdin, challenge+"\n"); err != nil {
		t.Fatal(err)
	}
}

// line is the next that it writes.
func (g *gsaslClient) line(t *testing.T) (line string) {
	t.Helper()
	await(t, "a line from gsasl", func() (ok bool) {
		line, _, ok = strings.Cut(g.out.String()[g.read:], "\n")
		return ok
	})
	g.read += len(line) + 1
	return line
}
