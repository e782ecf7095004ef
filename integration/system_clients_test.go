package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	gosasl "github.com/emersion/go-sasl"
)

// attempt is one submission by somebody else's client.
type attempt struct {
	implicit        bool
	address         string // of the port
	name            string // to expect in the certificate
	ca              string // file of whom to trust
	mechanism, user string
	password        string
	from, to        string
	message         string // ends in CRLF
}

func (a attempt) port() string { return port(a.address) }

// mailer is a client. Its try returns what the program said, and an error if the
// program reported failure.
type mailer struct {
	name, peer string
	mechanisms []string
	checksName bool // in the certificate, not just who signed it
	try        func(t *testing.T, program string, a attempt) (string, error)
}

var mailers = []mailer{
	// This version checks the chain only.
	{"swaks", "swaks", []string{"PLAIN", "LOGIN"}, false, trySwaks},
	{"msmtp", "msmtp", []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "DIGEST-MD5"}, true, tryMsmtp},
	{"curl", "curl", []string{"PLAIN", "LOGIN", "DIGEST-MD5"}, true, tryCurl},
	{"openssl", "openssl", []string{"PLAIN", "LOGIN"}, true, tryOpenSSL},
	{"smtplib", "python3", []string{"PLAIN", "LOGIN"}, true, func(t *testing.T, program string, a attempt) (string, error) {
		return a.script(exec.Command(program, "clients/submit.py"))
	}},
	{"nodemailer", "nodemailer", []string{"PLAIN", "LOGIN"}, true, func(t *testing.T, program string, a attempt) (string, error) {
		return a.script(exec.Command(program, "clients/submit.js"))
	}},
}

// trySwaks hands over the message without its last line end, which swaks adds.
func trySwaks(t *testing.T, program string, a attempt) (string, error) {
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, []byte(strings.TrimSuffix(a.message, "\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	mode := "--tls"
	if a.implicit {
		mode = "--tls-on-connect"
	}
	return finish(exec.Command(program, "--server", "127.0.0.1", "--port", a.port(), mode, "--tls-verify", "--tls-ca-path", a.ca, "--tls-sni", a.name,
		"--helo", "client.example", "--auth", a.mechanism, "--auth-user", a.user, "--auth-password", a.password,
		"--from", a.from, "--to", a.to, "--data", "@"+file, "--timeout", "60"), "")
}

// tryMsmtp hands over lines that end in LF, as sendmail is called. For DIGEST-MD5 it names
// the host that it connects to, so that must be the server's name: the way there is a socket.
func tryMsmtp(t *testing.T, program string, a attempt) (string, error) {
	starttls := "on"
	if a.implicit {
		starttls = "off"
	}
	return finish(exec.Command(program, "--host="+a.name, "--socket="+bridge(t, a.address), "--domain=client.example", "--timeout=60", "--tls=on", "--tls-starttls="+starttls, "--tls-trust-file="+a.ca,
		"--auth="+strings.ToLower(a.mechanism), "--user="+a.user, "--passwordeval=echo "+a.password,
		"--set-from-header=off", "--set-date-header=off", "--from="+a.from, "--", a.to), strings.ReplaceAll(a.message, "\r\n", "\n"))
}

// bridge is a Unix socket that leads to an address.
func bridge(t *testing.T, address string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "msa") // t.TempDir may be too long a name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.Listen("unix", dir+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		here, err := ln.Accept()
		if err != nil {
			return
		}
		defer here.Close()
		there, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer there.Close()
		go func() {
			_, _ = io.Copy(there, here)
			_ = there.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(here, there)
	}()
	return dir + "/socket"
}

func tryCurl(t *testing.T, program string, a attempt) (string, error) {
	scheme := "smtp"
	if a.implicit {
		scheme = "smtps"
	}
	return finish(exec.Command(program, "--silent", "--show-error", "--verbose", "--max-time", "60", "--ssl-reqd", "--cacert", a.ca,
		"--url", fmt.Sprintf("%s://%s:%s/client.example", scheme, a.name, a.port()), "--resolve", a.name+":"+a.port()+":127.0.0.1",
		"--login-options", "AUTH="+a.mechanism, "--user", a.user+":"+a.password,
		"--mail-from", a.from, "--mail-rcpt", a.to, "--upload-file", "-"), a.message)
}

// script runs a program that takes an attempt from its environment.
func (a attempt) script(cmd *exec.Cmd) (string, error) {
	implicit := ""
	if a.implicit {
		implicit = "yes"
	}
	cmd.Env = append(os.Environ(), installed.NodePath, "PORT="+a.port(), "IMPLICIT="+implicit, "NAME="+a.name, "CA="+a.ca,
		"MECHANISM="+a.mechanism, "LOGIN="+a.user, "PASSWORD="+a.password, "FROM="+a.from, "TO="+a.to)
	return finish(cmd, a.message)
}

// finish runs a client to its end, giving it standard input.
func finish(cmd *exec.Cmd, stdin string) (string, error) {
	cmd.Stdin = strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// tryOpenSSL speaks SMTP through s_client, which reports failure for a certificate that
// it does not trust; any other is the reply that was not wanted.
func tryOpenSSL(t *testing.T, program string, a attempt) (string, error) {
	args := []string{"s_client", "-quiet", "-connect", a.address, "-servername", a.name, "-verify_hostname", a.name, "-verify_return_error", "-CAfile", a.ca}
	if !a.implicit {
		args = append(args, "-starttls", "smtp")
	}
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := new(logBuffer)
	cmd.Stderr = said
	c := throughPipes(t, cmd)
	defer c.close()
	err := all(
		func() error {
			if a.implicit { // else s_client has read the greeting
				return c.want("220")
			}
			return nil
		},
		func() error { return c.do("250", "EHLO client.example") },
		func() error {
			if a.mechanism == gosasl.Login {
				return c.auth(gosasl.NewLoginClient(a.user, a.password), func() {})
			}
			return c.login(a.user, a.password)
		},
		func() error { _, err := c.submit(a.from, a.to, a.message); return err },
		func() error { return c.do("221", "QUIT") },
	)
	if refused := (*unexpected)(nil); errors.As(err, &refused) {
		_ = cmd.Process.Kill() // it would wait for the server
	}
	end := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer end.Stop()
	if waited := cmd.Wait(); err == nil && waited != nil {
		err = waited
	}
	return fmt.Sprintf("%s%v", said, err), err
}

// throughPipes starts a program and returns a client at its standard input and output.
func throughPipes(t *testing.T, cmd *exec.Cmd) *talker {
	t.Helper()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(ends[0]), "theirs"), os.NewFile(uintptr(ends[1]), "ours")
	defer theirs.Close()
	defer ours.Close()
	nc, err := net.FileConn(ours) // a duplicate
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = theirs, theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return newTalker(nc)
}
