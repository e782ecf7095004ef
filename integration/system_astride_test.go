package integration

import (
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"sync"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// astride are the states in which a session can be while something happens to the
// server: begin takes a client of alice's so far, and rest goes on to submit a
// message to bob, whose subject is id, and to QUIT.
var astride = []struct {
	name  string
	begin func(s *server, trust *tls.Config, id string) (rest func() error, err error)
}{
	{"greeted", func(s *server, trust *tls.Config, id string) (func() error, error) {
		c, err := connect("tcp", s.starttls, nil)
		return func() error {
			defer c.close()
			return all(
				func() error { return c.do("250", "EHLO client.example.org") },
				func() error { return c.starttls(trust, nil) },
				func() error { return c.login("alice@example.org", "secret") },
				func() error { return c.finish(id) },
			)
		}, err
	}},
	{"client-hello", func(s *server, trust *tls.Config, id string) (func() error, error) {
		return inHandshake(s, trust, id, 1)
	}},
	{"client-finished", func(s *server, trust *tls.Config, id string) (func() error, error) {
		return inHandshake(s, trust, id, 2)
	}},
	{"auth-digest-md5", func(s *server, trust *tls.Config, id string) (func() error, error) {
		return inAuth(s, trust, id, sasl.NewDigestMD5Client("alice@example.org", "secret", "", hostname))
	}},
	{"auth-scram", func(s *server, trust *tls.Config, id string) (func() error, error) {
		client, err := sasl.NewSCRAMClient("alice@example.org", "secret")
		if err != nil {
			return nil, err
		}
		return inAuth(s, trust, id, client)
	}},
	{"auth-login", func(s *server, trust *tls.Config, id string) (func() error, error) {
		return inAuth(s, trust, id, gosasl.NewLoginClient("alice@example.org", "secret"))
	}},
	{"authenticated", func(s *server, trust *tls.Config, id string) (func() error, error) {
		c, err := s.alice(trust)
		return func() error {
			defer c.close()
			return c.finish(id)
		}, err
	}},
	{"envelope", func(s *server, trust *tls.Config, id string) (func() error, error) {
		c, err := s.alice(trust)
		if err == nil {
			err = c.envelope("alice@example.org", "bob@example.net")
		}
		return func() error {
			defer c.close()
			if err := c.do("354", "DATA"); err != nil {
				return err
			}
			return all(
				func() error { return c.do("250", letter(id)+".") },
				func() error { return c.do("221", "QUIT") },
			)
		}, err
	}},
	{"data", func(s *server, trust *tls.Config, id string) (func() error, error) {
		c, err := s.alice(trust)
		if err == nil {
			err = all(
				func() error { return c.envelope("alice@example.org", "bob@example.net") },
				func() error { return c.do("354", "DATA") },
				func() error { return c.send(letter(id)[:30]) },
			)
		}
		return func() error {
			defer c.close()
			return all(
				func() error { return c.do("250", letter(id)[30:]+".") },
				func() error { return c.do("221", "QUIT") },
			)
		}, err
	}},
	{"bdat", func(s *server, trust *tls.Config, id string) (func() error, error) {
		message := "From: alice@example.org\r\nSubject: " + id + "\r\n\r\n" + strings.Repeat("x", 98) + "\r\n"
		chunk, last := message[:len(message)-100], message[len(message)-100:]
		c, err := s.alice(trust)
		if err == nil {
			err = all(
				func() error { return c.envelope("alice@example.org", "bob@example.net") },
				func() error { return c.send("BDAT " + strconv.Itoa(len(chunk)) + "\r\n" + chunk) },
				func() error { return c.want("250") },
				func() error { return c.send("BDAT 100 LAST\r\n" + last[:50]) },
			)
		}
		return func() error {
			defer c.close()
			return all(
				func() error { return c.send(last[50:]) },
				func() error { return c.want("250") },
				func() error { return c.do("221", "QUIT") },
			)
		}, err
	}},
}

// finish is what an authenticated client came for.
func (c *talker) finish(id string) error {
	if _, err := c.submit("alice@example.org", "bob@example.net", letter(id)); err != nil {
		return err
	}
	return c.do("221", "QUIT")
}

// inHandshake stops in the middle of the client's nth flight.
func inHandshake(s *server, trust *tls.Config, id string, flight int) (func() error, error) {
	c, err := connect("tcp", s.starttls, nil)
	if err != nil {
		return nil, err
	}
	half := &halting{at: flight, reached: make(chan struct{}), goOn: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		done <- c.starttls(trust, func(nc net.Conn) net.Conn {
			half.Conn = nc
			return half
		})
	}()
	rest := func() error {
		defer c.close()
		close(half.goOn)
		return all(
			func() error { return <-done },
			func() error { return c.login("alice@example.org", "secret") },
			func() error { return c.finish(id) },
		)
	}
	select {
	case err := <-done:
		return nil, err
	case <-half.reached:
		return rest, nil
	}
}

// halting is a connection that stops in the middle of a write.
type halting struct {
	net.Conn
	at            int // which write, counted from 1
	reached, goOn chan struct{}

	mu     sync.Mutex
	writes int
}

func (h *halting) Write(p []byte) (int, error) {
	h.mu.Lock()
	h.writes++
	halt := h.writes == h.at
	h.mu.Unlock()
	if !halt {
		return h.Conn.Write(p)
	}
	n, err := h.Conn.Write(p[:len(p)/2])
	if err != nil {
		return n, err
	}
	close(h.reached)
	<-h.goOn
	m, err := h.Conn.Write(p[len(p)/2:])
	return n + m, err
}

// inAuth stops before the response to the first challenge.
func inAuth(s *server, trust *tls.Config, id string, client gosasl.Client) (func() error, error) {
	c, err := connect("tcp", s.implicit, trust)
	if err != nil {
		return nil, err
	}
	if err := c.do("250", "EHLO client.example.org"); err != nil {
		return nil, err
	}
	var once sync.Once
	challenged, goOn := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- c.auth(client, func() {
			once.Do(func() {
				close(challenged)
				<-goOn
			})
		})
	}()
	rest := func() error {
		defer c.close()
		close(goOn)
		return all(
			func() error { return <-done },
			func() error { return c.finish(id) },
		)
	}
	select {
	case err := <-done:
		return nil, err
	case <-challenged:
		return rest, nil
	}
}
