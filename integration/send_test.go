package integration

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// sendServer takes mail for example.net and for nobody else.
func sendServer(t *testing.T) *server {
	t.Helper()
	return start(t, layout{
		auth: "auth {\n\t\tmechanisms SCRAM-SHA-256-PLUS SCRAM-SHA-256 DIGEST-MD5 PLAIN LOGIN\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}",
		msa:  "@near recipient_domain example.net\n\tdeliver @near maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}",
	})
}

// send is `caddy msa send` without any flag but those given, and returns all that it prints
// and its exit code. In the dialogue there must be no trace of the password.
func (s *server) send(t *testing.T, stdin string, env []string, args ...string) (out string, code int) {
	t.Helper()
	cmd := s.command(append([]string{"msa", "send"}, args...)...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(stdin)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	for _, trace := range []string{"secret", base64.StdEncoding.EncodeToString([]byte("secret")),
		base64.StdEncoding.EncodeToString([]byte("\x00alice@example.org\x00secret"))} {
		if strings.Contains(string(b), trace) {
			t.Errorf("%s: the password is printed:\n%s", args, b)
		}
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// flags are what it takes to send from alice to bob on one of the ports.
func (s *server) flags(implicit bool) []string {
	a := s.attempt(implicit, "", "")
	return []string{"--server", a.address, "--tls", portName(implicit), "--server-name", a.name, "--ca", a.ca, "--user", a.user,
		"--password", a.password, "--to", "bob@example.net"}
}

// `caddy msa send` knows all mechanisms on both ports, and shows the dialogue.
func TestSend(t *testing.T) {
	t.Parallel()
	s := sendServer(t)
	s.write("message.eml", octets)
	for _, implicit := range []bool{false, true} {
		for _, mechanism := range []string{"PLAIN", "LOGIN", "DIGEST-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", ""} {
			to := strings.ToLower(portName(implicit)+"-"+mechanism) + "@example.net"
			out, code := s.send(t, "", nil, append(s.flags(implicit), "--mechanism", mechanism, "--file", filepath.Join(s.dir, "message.eml"), "--to", to)...)
			if mechanism == "" { // the best of all
				mechanism = "SCRAM-SHA-256-PLUS"
			}
			said := []string{"S: 220 " + hostname, "-- TLS 1.3, ", "C: AUTH " + mechanism, "S: 235 2.7.0 ", "C: MAIL FROM:<alice@example.org>",
				"C: RCPT TO:<bob@example.net>", "C: RCPT TO:<" + to + ">", "C: DATA", fmt.Sprintf("C: (%d octets)", len(octets)), "queued as ", "C: QUIT", "S: 221 "}
			if !implicit {
				said = append(said, "C: STARTTLS")
			}
			if code != 0 {
				t.Errorf("%s: exit code %d\n%s", to, code, out)
				continue
			}
			for _, line := range said {
				if !strings.Contains(out, line) {
					t.Errorf("%s: %q is missing:\n%s", to, line, out)
				}
			}
			if got := untraced(t, s.mail(to, 1)[0]); string(got) != octets {
				t.Errorf("%s: delivered\n%q", to, got)
			}
		}
	}
	s.mail("bob@example.net", 12)
}

// The password comes from the environment or standard input too, the message from standard
// input; what is not given is made up.
func TestSendInputs(t *testing.T) {
	t.Parallel()
	s := sendServer(t)
	flags := s.flags(true)
	flags = append(flags[:len(flags)-4:len(flags)-4], "--helo", "client.example") // neither password nor recipient
	text := "From: alice@example.org\n\n.\n..\nno end"
	for _, c := range []struct {
		to, stdin string
		env, args []string
		want      string // of the message
	}{
		{"environment@example.net", "", []string{"MSA_PASSWORD=secret"}, nil, "Subject: Test message\r\n"},
		{"stdin@example.net", "secret\n", nil, []string{"--subject", "asked for"}, "Subject: asked for\r\n"},
		{"message@example.net", text, []string{"MSA_PASSWORD=secret"}, []string{"--file", "-"}, strings.ReplaceAll(text, "\n", "\r\n") + "\r\n"},
		{"port@example.net", "secret", nil, []string{"--server", s.starttls, "--tls", ""}, "Sent by"}, // STARTTLS is spoken on such a port
	} {
		out, code := s.send(t, c.stdin, c.env, append(append(flags, "--to", c.to), c.args...)...)
		if code != 0 {
			t.Errorf("%s: exit code %d\n%s", c.to, code, out)
			continue
		}
		got := untraced(t, s.mail(c.to, 1)[0])
		if !strings.Contains(string(got), c.want) || strings.HasPrefix(c.want, "From:") && string(got) != c.want {
			t.Errorf("%s: delivered\n%q", c.to, got)
		}
	}
}

// whatever goes wrong, the exit code is 1 and the output says what it was.
func TestSendFails(t *testing.T) {
	t.Parallel()
	s := sendServer(t)
	stranger, nobody := filepath.Join(s.dir, "stranger.pem"), freeAddress(t)
	selfSigned(t, hostname, stranger, filepath.Join(s.dir, "stranger.key"))
	s.write("forged.eml", strings.Replace(octets, "alice@", "bob@", 1))
	s.write("empty.pem", "")
	for _, c := range []struct {
		what string
		args []string // which have precedence
		says string
		met  bool // the server, so that there is a dialogue
	}{
		{"password", []string{"--password", "wrong"}, "535 5.7.8", true},
		{"password, PLAIN", []string{"--password", "wrong", "--mechanism", "PLAIN"}, "535 5.7.8", true},
		{"password, LOGIN", []string{"--password", "wrong", "--mechanism", "LOGIN"}, "535 5.7.8", true},
		{"password, DIGEST-MD5", []string{"--password", "wrong", "--mechanism", "DIGEST-MD5"}, "535 5.7.8", true},
		{"user", []string{"--user", "nobody@example.org"}, "535 5.7.8", true},
		{"sender", []string{"--from", "bob@example.net"}, "550 5.7.1", true},
		{"From", []string{"--file", filepath.Join(s.dir, "forged.eml")}, "550 5.7.1", true},
		{"recipient", []string{"--to", "carol@example.com"}, "the server refused: 5", true},
		{"no address", []string{"--to", "x@"}, "the server refused: 5", true},
		{"mechanism of nobody", []string{"--mechanism", "CRAM-MD5"}, "mechanism CRAM-MD5 is not known here", true},
		{"mechanism not offered", []string{"--mechanism", "XOAUTH2", "--token", "t"}, "the server refused: 504", true},
		{"CA", []string{"--ca", stranger}, "certificate signed by unknown authority", false},
		{"empty CA", []string{"--ca", filepath.Join(s.dir, "empty.pem")}, "holds no certificate", false},
		{"no CA file", []string{"--ca", filepath.Join(s.dir, "none.pem")}, "no such file", false},
		{"name", []string{"--server-name", "other.example.test"}, "TLS handshake: ", false},
		{"nobody listens", []string{"--server", nobody}, "connection refused", false},
		{"message", []string{"--file", filepath.Join(s.dir, "none.eml")}, "no such file", false},
		{"no password", []string{"--password", ""}, "the password is empty", false},
		{"mode", []string{"--tls", "never"}, `--tls is starttls or implicit, not "never"`, false},
		{"argument", []string{"surplus"}, "surplus", false},
		{"flag", []string{"--nothing"}, "unknown flag", false},
	} {
		for _, implicit := range []bool{false, true} {
			out, code := s.send(t, "", nil, append(s.flags(implicit), c.args...)...)
			if code != 1 || !strings.Contains(out, c.says) || strings.Contains(out, "queued as") {
				t.Errorf("wrong %s, %s: exit code %d, want 1 and %q\n%s", c.what, portName(implicit), code, c.says, out)
			}
			if met := strings.Contains(out, "C: AUTH") || strings.Contains(out, "S: 250"); c.met && !met {
				t.Errorf("wrong %s, %s: there is no dialogue\n%s", c.what, portName(implicit), out)
			}
		}
	}
	// TLS where the server speaks first, and no flags at all.
	for _, args := range [][]string{append(s.flags(false), "--tls", "implicit"), nil} {
		if out, code := s.send(t, "", nil, args...); code != 1 {
			t.Errorf("%s: exit code %d\n%s", args, code, out)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(s.dir, "mail/*/*/new/*")); len(names) > 0 {
		t.Errorf("delivered all the same: %s", names)
	}
}
