package integration

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	curl := need(t, "curl", "curl")
	l := layout{msa: "listen unix/$DIR/starttls.sock|0660\n listen_tls unix/$DIR/tls.sock"}
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
	l := layout{msa: "listen fd/3\n listen_tls fd/4"}
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

// proxyV1 is the text form of a PROXY header.
func proxyV1(source string) string {
	from := netip.MustParseAddr(source)
	family, to := "TCP4", "192.0.2.1"
	if from.Is6() {
		family, to = "TCP6", "2001:db8::1"
	}
	return fmt.Sprintf("PROXY %s %s %s 4711 587\r\n", family, from, to)
}

// proxyV2 is the binary form; for no source, it is a balancer's own connection (LOCAL).
func proxyV2(source string) string {
	const signature = "\r\n\r\n\x00\r\nQUIT\n"
	if source == "" {
		return signature + "\x20\x00\x00\x00"
	}
	from := netip.MustParseAddr(source)
	family := byte(0x11)
	if from.Is6() {
		family = 0x21
	}
	body := append(from.AsSlice(), from.AsSlice()...) // both ends alike
	body = append(body, 4711>>8, 4711&0xff, 587>>8, 587&0xff)
	return signature + string([]byte{0x21, family, 0, byte(len(body))}) + string(body)
}

// With proxy_protocol, the client is who the balancer says: in Received, in the log and
// in what counts by address. What is no balancer of ours has no say.
func TestProxyProtocol(t *testing.T) {
	s := newServer(t)
	proxied := map[string][2]string{} // by fallback policy: address for STARTTLS, for TLS
	var global strings.Builder
	for _, fallback := range []string{"ignore", "skip", "reject"} {
		proxied[fallback] = [2]string{freeAddress(t), freeAddress(t)}
		fmt.Fprintf(&global, `msa %s.example.test {
		listen     %s
		listen_tls %s unix/$DIR/%s.sock
		listener_wrappers {
			proxy_protocol {
				timeout 2s
				allow 127.0.0.1/32
				fallback_policy %s
			}
		}
		tls internal
		auth {
			file $DIR/users.passwd
		}
		limits {
			connections_per_ip 2
		}
		deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	}
	`, fallback, proxied[fallback][0], proxied[fallback][1], fallback, fallback)
	}
	s.write("Caddyfile", s.caddyfile(layout{global: global.String()}))
	s.writeUsers("")
	s.run()

	// through returns a connection from an address that begins with a header.
	through := func(network, local, address, header string) net.Conn {
		t.Helper()
		d := net.Dialer{Timeout: patience}
		if local != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
		}
		nc, err := d.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		if _, err := nc.Write([]byte(header)); err != nil {
			t.Fatal(err)
		}
		return nc
	}
	const balancer, stranger = "127.0.0.1", "127.0.0.2"
	socket := filepath.Join(s.dir, "ignore.sock")
	for _, test := range []struct {
		name, network, local, fallback string
		implicit                       bool
		header, want                   string
	}{
		{"v1", "tcp", balancer, "ignore", false, proxyV1("203.0.113.7"), "203.0.113.7"},
		{"v1-tls", "tcp", balancer, "ignore", true, proxyV1("203.0.113.8"), "203.0.113.8"},
		{"v1-ipv6", "tcp", balancer, "skip", false, proxyV1("2001:db8::9"), "2001:db8::9"},
		{"v1-unknown", "tcp", balancer, "skip", false, "PROXY UNKNOWN\r\n", balancer},
		{"v2", "tcp", balancer, "reject", false, proxyV2("203.0.113.10"), "203.0.113.10"},
		{"v2-tls", "tcp", balancer, "reject", true, proxyV2("203.0.113.11"), "203.0.113.11"},
		{"v2-ipv6", "tcp", balancer, "ignore", true, proxyV2("2001:db8::12"), "2001:db8::12"},
		{"v2-local", "tcp", balancer, "ignore", false, proxyV2(""), balancer},
		{"unix", "unix", "", "ignore", true, proxyV2("203.0.113.13"), "203.0.113.13"},
		{"stranger-v1-ignored", "tcp", stranger, "ignore", false, proxyV1("203.0.113.14"), stranger},
		{"stranger-v2-ignored", "tcp", stranger, "ignore", true, proxyV2("203.0.113.15"), stranger},
		{"stranger-says-nothing", "tcp", stranger, "skip", false, "", stranger},
	} {
		address := proxied[test.fallback][0]
		switch {
		case test.network == "unix":
			address = socket
		case test.implicit:
			address = proxied[test.fallback][1]
		}
		nc := through(test.network, test.local, address, test.header)
		message := letterFrom(t, s, nc, s.tlsFor(test.fallback+".example.test"), test.implicit, test.name)
		literal := test.want
		if strings.Contains(literal, ":") {
			literal = "IPv6:" + literal
		}
		if want := "Received: from client.example.org ([" + literal + "])\r\n"; !bytes.Contains(message, []byte(want)) {
			t.Errorf("%s: want %s in\n%s", test.name, want, message)
		}
		s.logged("message accepted", `"`+test.name+`@example.net"`, `"remote_ip":"`+test.want+`"`)
	}

	// A stranger's header is a bad command where it is skipped, and the end where it is rejected.
	c, err := greeted(through("tcp", stranger, proxied["skip"][0], proxyV1("203.0.113.16")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.want("530 5.7.0"); err != nil {
		t.Error(err)
	}
	c.close()
	s.logged("session ended", `"remote_ip":"`+stranger+`"`)
	for i, implicit := range []bool{false, true} {
		nc := through("tcp", stranger, proxied["reject"][i], proxyV1("203.0.113.17"))
		if c, err := rejected(nc, implicit); err == nil {
			t.Errorf("implicit %v: a rejected header goes on: %s", implicit, c)
		}
	}
	if strings.Contains(s.log.String(), `"remote_ip":"203.0.113.16"`) || strings.Contains(s.log.String(), `"remote_ip":"203.0.113.17"`) {
		t.Error("a stranger's word counts")
	}

	// Each client behind the balancer counts for itself.
	for _, client := range []string{"203.0.113.20", "203.0.113.21"} {
		for n := range 3 {
			c := newTalker(through("tcp", balancer, proxied["ignore"][0], proxyV1(client)))
			want := "220"
			if n == 2 {
				want = "421 4.7.0"
			}
			if err := c.want(want); err != nil {
				t.Errorf("connection %d of %s: %v", n+1, client, err)
			}
		}
	}
}

// rejected tells how a session goes on whose PROXY header is not to be had.
func rejected(nc net.Conn, implicit bool) (reply string, err error) {
	_ = nc.SetDeadline(time.Now().Add(patience))
	if implicit {
		conn := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		return "a handshake", conn.Handshake()
	}
	c := newTalker(nc)
	if reply, err := c.reply(); err != nil || strings.HasPrefix(reply, "421") {
		return reply, fmt.Errorf("refused with %q, %w", reply, err)
	}
	if err := c.send("EHLO client.example.org\r\n"); err != nil {
		return "", err
	}
	return c.reply()
}

// Connections over a limit hear 421, what ends makes room again, and a reload forgets
// nobody.
func TestConnectionLimits(t *testing.T) {
	l := layout{msa: "limits {\n connections 5\n connections_per_ip 3\n unauthenticated 2\n }"}
	s := start(t, l)
	trust := s.tlsConfig()
	enter := func(local string) (*talker, error) {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
		nc, err := d.Dial("tcp", s.starttls)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		return greeted(nc, nil)
	}
	// Those of the harness may have to go first, so entering is tried until it succeeds.
	entered := func(local string) (c *talker) {
		t.Helper()
		s.await("room for "+local, func() bool {
			var err error
			c, err = enter(local)
			return err == nil
		})
		return c
	}
	full := func(local, limit string) {
		t.Helper()
		before := strings.Count(s.log.String(), `"limit":"`+limit+`"`)
		if _, err := enter(local); err == nil || !strings.Contains(err.Error(), "421 4.7.0") {
			t.Errorf("over %s: %v", limit, err)
		}
		s.await(limit+" in the log", func() bool { return strings.Count(s.log.String(), `"limit":"`+limit+`"`) > before })
	}
	login := func(c *talker) {
		t.Helper()
		err := all(
			func() error { return c.starttls(trust, nil) },
			func() error { return c.login("alice@example.org", "secret") },
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	const one, two, three = "127.0.0.1", "127.0.0.2", "127.0.0.3"

	// Until the harness's own connections have gone, there may be less room.
	s.await("an empty server", func() bool {
		a, err := enter(one)
		if err != nil {
			return false
		}
		defer a.close()
		b, err := enter(one)
		if err != nil {
			return false
		}
		b.close()
		return true
	})
	a := entered(one)
	b := entered(one)
	full(two, "unauthenticated")
	login(a) // a stranger no more, which makes room for one
	c := entered(one)
	login(b)
	login(c)
	full(one, "connections_per_ip")
	if status, answer := s.load(s.caddyfile(l)); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	full(one, "connections_per_ip")
	d := entered(two)
	login(d)
	e := entered(two)
	full(three, "connections")
	// With TLS from the first byte there is nobody to say it to yet.
	if conn, err := tls.Dial("tcp", s.implicit, trust); err == nil {
		_ = conn.Close()
		t.Error("a handshake over the limit")
	}

	// Each way in which a session ends makes room.
	if err := c.do("221", "QUIT"); err != nil {
		t.Error(err)
	}
	c = entered(one)
	e.close() // rudely
	login(c)
	e = entered(two)
	if err := all(
		func() error { return e.do("220", "STARTTLS") },
		func() error { return e.send("no handshake\r\n") },
	); err != nil {
		t.Error(err)
	}
	e = entered(two)
	if err := all( // in the middle of a message
		func() error { return d.envelope("alice@example.org", "bob@example.net") },
		func() error { return d.do("354", "DATA") },
		func() error { return d.send("Subject: half\r\n") },
	); err != nil {
		t.Error(err)
	}
	full(three, "connections")
	d.close()
	entered(three)
	for _, c := range []*talker{a, b} {
		if _, err := c.submit("alice@example.org", "bob@example.net", letter("all the while")); err != nil {
			t.Error(err)
		}
	}
	s.mail("bob@example.net", 2)
}
