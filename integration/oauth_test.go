package integration

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/modules/authoauth/idp"
)

// Tokens of a real OpenID provider, by the clients that people have.
func TestOAuth(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	s := newServer(t)
	s.write("Caddyfile", s.caddyfile(layout{auth: "auth {\n\t\toauth http://" + address + " {\n\t\t\taudience " + idp.Audience + "\n\t\t\tscopes " + idp.Scope +
		"\n\t\t\ttimeout 30s\n\t\t}\n\t}"}))
	s.run()
	send := func(mechanism, token, to string) (string, error) {
		cmd := exec.Command(binary, "msa", "send", "--server", s.implicit, "--tls", "implicit", "--server-name", hostname, "--ca", s.root(),
			"--user", idp.Email, "--mechanism", mechanism, "--to", to)
		cmd.Env = append(os.Environ(), "MSA_TOKEN="+token)
		out, err := cmd.CombinedOutput()
		if token != "" && strings.Contains(string(out), token) {
			t.Errorf("the token is in what is printed:\n%s", out)
		}
		return string(out), err
	}
	// Before the provider is there nobody can tell.
	made := strings.Repeat("eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.", 2) + "c2ln"
	if out, err := send("OAUTHBEARER", made, "x@example.net"); err == nil || !strings.Contains(out, "454 4.7.0") {
		t.Errorf("without the provider: %v\n%s", err, out)
	}
	go func() { _ = idp.Serve(address) }()
	await(t, "the provider", func() bool {
		nc, err := net.Dial("tcp", address)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
	token, err := idp.Token(address, false)
	if err != nil {
		t.Fatal(err)
	}
	// One that did not answer is asked again a second later, not for each token.
	await(t, "the provider to be asked again", func() bool {
		out, _ := send("OAUTHBEARER", made, "x@example.net")
		return strings.Contains(out, "535 5.7.8")
	})
	for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
		if out, err := send(mechanism, token, "caddy@example.net"); err != nil {
			t.Errorf("%s: %v\n%s", mechanism, err, out)
		}
		// The refusal tells what is needed, and then is one.
		if out, err := send(mechanism, token[:len(token)-6]+"AAAAAA", "x@example.net"); err == nil || !strings.Contains(out, "334 ey") || !strings.Contains(out, "535 5.7.8") {
			t.Errorf("%s with a forged token: %v\n%s", mechanism, err, out)
		}
	}
	s.mail("caddy@example.net", 2)

	t.Run("curl", func(t *testing.T) {
		curl := need(t, "curl")
		s.write("message", conversed)
		for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
			cmd := exec.Command(curl, "--silent", "--show-error", "--ssl-reqd", "--cacert", s.root(), "--url", "smtp://"+hostname+":"+port(s.starttls),
				"--resolve", hostname+":"+port(s.starttls)+":127.0.0.1", "--login-options", "AUTH="+mechanism, "--user", idp.Email, "--oauth2-bearer", token,
				"--mail-from", idp.Email, "--mail-rcpt", "curl@example.net", "--upload-file", filepath.Join(s.dir, "message"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", mechanism, err, out)
			}
		}
		s.mail("curl@example.net", 2)
	})
	t.Run("smtplib", func(t *testing.T) {
		python := need(t, "python3")
		cmd := exec.Command(python, "-c", `
import smtplib, ssl, sys
host, port, ca, user, token = sys.argv[1:]
class Client(smtplib.SMTP_SSL):
    def _get_socket(self, host, port, timeout):
        import socket
        return self.context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout), server_hostname=host)
c = Client(host, int(port), context=ssl.create_default_context(cafile=ca), timeout=30)
c.ehlo()
c.auth("XOAUTH2", lambda challenge=None: "user=%s\x01auth=Bearer %s\x01\x01" % (user, token), initial_response_ok=True)
c.sendmail(user, ["python@example.net"], "From: %s\r\n\r\ntext\r\n" % user)
c.quit()
`, hostname, port(s.implicit), s.root(), idp.Email, token)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		s.mail("python@example.net", 1)
	})
	if strings.Contains(s.log.String(), token) {
		t.Error("the token is in the log")
	}
}
