package integration

import (
	"os/exec"
	"strings"
	"testing"
)

// on the ports of RFC 6409 and RFC 8314, to a client that checks the certificate.
func TestWellKnownPorts(t *testing.T) {
	needRoot(t)
	openssl := need(t, "openssl")
	s := newServer(t)
	s.starttls, s.implicit = "127.0.0.1:587", "127.0.0.1:465"
	s.write("Caddyfile", s.caddyfile(layout{}))
	s.writeUsers("")
	s.run()
	for _, args := range [][]string{
		{"-connect", s.starttls, "-starttls", "smtp"},
		{"-connect", s.implicit},
		{"-connect", s.implicit, "-noservername"},
		{"-connect", s.implicit, "-alpn", "smtp"},
		{"-connect", s.starttls, "-starttls", "smtp", "-tls1_2"},
	} {
		args = append([]string{"s_client", "-quiet", "-verify_return_error", "-verify_hostname", hostname, "-CAfile", s.root()}, args...)
		cmd := exec.Command(openssl, args...)
		cmd.Stdin = strings.NewReader("QUIT\r\n")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "221 2.0.0") {
			t.Errorf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
