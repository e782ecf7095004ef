package integration

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// greeted makes a client of a connection, which must be greeted.
func greeted(nc net.Conn, config *tls.Config) (*talker, error) {
	if config != nil {
		nc = tls.Client(nc, config)
	}
	c := newTalker(nc)
	if err := c.want("220"); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// letterFrom submits alice's letter on a fresh session, by STARTTLS unless TLS began with
// the first byte, and returns the message as it was delivered.
func letterFrom(t *testing.T, s *server, nc net.Conn, trust *tls.Config, implicit bool, subject string) []byte {
	t.Helper()
	var first *tls.Config
	if implicit {
		first = trust
	}
	c, err := greeted(nc, first)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	defer c.close()
	err = all(
		func() error { return c.do("250", "EHLO client.example.org") },
		func() error {
			if implicit {
				return nil
			}
			return c.starttls(trust, nil)
		},
		func() error { return c.do("250", "EHLO client.example.org") },
		func() error { return c.login("alice@example.org", "secret") },
		func() error {
			_, err := c.submit("alice@example.org", subject+"@example.net", letter(subject))
			return err
		},
		func() error { return c.do("221", "QUIT") },
	)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return s.mail(subject+"@example.net", 1)[0]
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	nc, err := net.DialTimeout(network, address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// Submission on unix sockets, which have the permissions that were asked for, outlast
// reloads, and are taken over from a process that was killed.
func TestUnixSockets(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	l := layout{listen: "unix/$DIR/starttls.sock|0660", listenTLS: "unix/$DIR/tls.sock"}
	s := start(t, l)
	starttls, implicit := filepath.Join(s.dir, "starttls.sock"), filepath.Join(s.dir, "tls.sock")
	check := func(round string) {
		t.Helper()
		for name, message := range map[string][]byte{
			"starttls": letterFrom(t, s, dial(t, "unix", starttls), s.tlsConfig(), false, "starttls"+round),
			"implicit": letterFrom(t, s, dial(t, "unix", implicit), s.tlsConfig(), true, "implicit"+round),
		} {
			if !bytes.Contains(message, []byte("Received: from client.example.org ([127.0.0.1])\r\n")) {
				t.Errorf("%s: %s", name, message)
			}
		}
		for path, want := range map[string]os.FileMode{starttls: 0o660, implicit: 0o200} {
			if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|want {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
	}
	check("1")

	s.write("letter.eml", letter("curl"))
	for scheme, path := range map[string]string{"smtp": starttls, "smtps": implicit} {
		out, err := exec.Command(curl, "--silent", "--show-error", "--unix-socket", path, "--ssl-reqd", "--cacert", s.root(),
			"--user", "alice@example.org:secret", "--mail-from", "alice@example.org", "--mail-rcpt", scheme+"@example.net",
			"--upload-file", filepath.Join(s.dir, "letter.eml"), scheme+"://"+hostname).CombinedOutput()
		if err != nil {
			t.Errorf("curl %s: %v\n%s", scheme, err, out)
			continue
		}
		s.mail(scheme+"@example.net", 1)
	}

	astride, err := greeted(dial(t, "unix", implicit), s.tlsConfig())
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := s.load(s.caddyfile(l)); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	if err := astride.do("250", "EHLO client.example.org"); err != nil {
		t.Errorf("after a reload: %v", err)
	}
	check("2")

	s.kill()
	s.run()
	check("3")
}

// Submission on sockets that the process inherits, as from systemd.
func TestInheritedSockets(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var files []*os.File
	var addresses []string
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, ln.Addr().String())
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		_ = ln.Close() // f is the socket
	}
	l := layout{listen: "fd/3", listenTLS: "fd/4"}
	s.write("Caddyfile", s.caddyfile(l))
	s.writeUsers("")
	s.process(files...)
	for _, f := range files {
		_ = f.Close()
	}
	s.await("the certificate", func() bool {
		conn, err := tls.Dial("tcp", addresses[1], &tls.Config{InsecureSkipVerify: true, ServerName: hostname})
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	letterFrom(t, s, dial(t, "tcp", addresses[0]), s.tlsConfig(), false, "starttls")
	letterFrom(t, s, dial(t, "tcp", addresses[1]), s.tlsConfig(), true, "implicit")
	if status, answer := s.load(s.caddyfile(l)); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	letterFrom(t, s, dial(t, "tcp", addresses[0]), s.tlsConfig(), false, "starttls-again")
	letterFrom(t, s, dial(t, "tcp", addresses[1]), s.tlsConfig(), true, "implicit-again")
}
