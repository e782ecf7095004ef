package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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

// A reload narrows an address and widens it again, on one port.
func TestReloadNarrowsAddress(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	_, port, _ := net.SplitHostPort(s.starttls)
	narrow := s.starttls
	s.starttls = ":" + port
	s.write("Caddyfile", s.caddyfile(layout{}))
	s.writeUsers("")
	s.run()
	trust := s.tlsConfig()
	for i, listen := range []string{narrow, ":" + port, narrow} {
		s.starttls = listen
		if status, answer := s.load(s.caddyfile(layout{})); status != http.StatusOK {
			t.Fatal(listen, status, answer)
		}
		letterFrom(t, s, dial(t, "tcp", narrow), trust, false, fmt.Sprint("narrow", i))
	}
}

// A server whose port another process has does not start, and says which.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	other := newServer(t)
	other.starttls = s.starttls
	other.writeUsers("")
	out, ok := caddyRun(t, other)
	if ok || !strings.Contains(out, "listening on "+s.starttls) || !strings.Contains(out, "something else listens on port") {
		t.Errorf("%v: %s", ok, out)
	}
}

// caddyRun runs a server that is expected not to start.
func caddyRun(t *testing.T, s *server) (output string, ok bool) {
	t.Helper()
	s.write("Caddyfile", s.caddyfile(layout{}))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "run", "--config", filepath.Join(s.dir, "Caddyfile"))
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}
