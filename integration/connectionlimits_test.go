package integration

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Connections over a limit get 421, what ends makes room again, and a reload forgets
// nobody.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
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
	oldest := entered(one)
	a := entered(one)
	b := entered(two) // over unauthenticated: the oldest stranger of those who have most makes room
	if err := oldest.want("421 4.7.0"); err != nil {
		t.Error("the oldest stranger:", err)
	}
	s.logged("session ended", `"reason":"crowded"`)
	if err := b.do("250", "NOOP"); err != nil {
		t.Error("the newcomer:", err)
	}
	b.close()
	login(a)
	b = entered(one)
	login(b)
	c := entered(one)
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
