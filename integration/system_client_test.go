package integration

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	gosasl "github.com/emersion/go-sasl"
)

// patience is how long a client waits for anything: longer than any pause of a busy
// machine, so that it only ends what hangs.
const patience = 60 * time.Second

// talker is a raw SMTP client that can stop anywhere. It belongs to one goroutine.
// Its methods return errors, since most of its users are not in a test's goroutine.
type talker struct {
	nc   net.Conn
	r    *bufio.Reader
	wait time.Duration // for a reply, if more than patience is needed
}

// connect returns a client that was greeted. With config, TLS begins with the first byte.
func connect(network, address string, config *tls.Config) (*talker, error) {
	nc, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return nil, err
	}
	return talkOver(nc, config)
}

// talkOver reads the greeting of a connection that is open.
func talkOver(nc net.Conn, config *tls.Config) (*talker, error) {
	if config != nil {
		nc = tls.Client(nc, config)
	}
	c := &talker{nc: nc, r: bufio.NewReader(nc)}
	if err := c.want("220"); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

func (c *talker) close() { _ = c.nc.Close() }

// reply reads one reply, all lines of it.
func (c *talker) reply() (string, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(max(patience, c.wait)))
	var reply strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		reply.WriteString(line)
		if err != nil {
			return reply.String(), fmt.Errorf("reading a reply after %q: %w", reply.String(), err)
		}
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimRight(reply.String(), "\r\n"), nil
		}
	}
}

// want reads a reply that begins so.
func (c *talker) want(prefix string) error {
	reply, err := c.reply()
	if err == nil && !strings.HasPrefix(reply, prefix) {
		err = &unexpected{prefix, reply}
	}
	return err
}

// unexpected is a reply other than the one that was wanted.
type unexpected struct{ want, got string }

func (u *unexpected) Error() string { return fmt.Sprintf("want %s, got %q", u.want, u.got) }

// send writes octets as they are.
func (c *talker) send(octets string) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
	_, err := io.WriteString(c.nc, octets)
	return err
}

// do says a line and reads a reply that begins so.
func (c *talker) do(prefix, line string) error {
	if err := c.send(line + "\r\n"); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	if err := c.want(prefix); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// all does steps until one fails.
func all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// starttls changes over to TLS; through, unless nil, wraps the connection below it.
func (c *talker) starttls(config *tls.Config, through func(net.Conn) net.Conn) error {
	if err := c.do("220", "STARTTLS"); err != nil {
		return err
	}
	nc := c.nc
	if through != nil {
		nc = through(nc)
	}
	conn := tls.Client(nc, config)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c.nc, c.r = conn, bufio.NewReader(conn)
	return nil
}

// login is AUTH PLAIN.
func (c *talker) login(user, password string) error {
	return c.do("235", "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
}

// auth is any mechanism. Before each response but the first, it calls pause.
func (c *talker) auth(client gosasl.Client, pause func()) error {
	mechanism, initial, err := client.Start()
	if err != nil {
		return err
	}
	line := "AUTH " + mechanism
	if initial != nil {
		line += " " + base64.StdEncoding.EncodeToString(initial)
	}
	for {
		if err := c.send(line + "\r\n"); err != nil {
			return err
		}
		reply, err := c.reply()
		if err != nil {
			return err
		}
		code, text, _ := strings.Cut(reply, " ")
		switch code {
		case "235":
			return nil
		case "334":
		default:
			return &unexpected{"235 or 334", reply}
		}
		challenge, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return err
		}
		response, err := client.Next(challenge)
		if err != nil {
			return err
		}
		pause()
		line = base64.StdEncoding.EncodeToString(response)
	}
}

// envelope is MAIL and RCPT.
func (c *talker) envelope(from, to string) error {
	if err := c.do("250", "MAIL FROM:<"+from+">"); err != nil {
		return err
	}
	return c.do("250", "RCPT TO:<"+to+">")
}

// submit sends a message, which ends in CRLF, and returns its queue id.
func (c *talker) submit(from, to, message string) (id string, err error) {
	if err := c.envelope(from, to); err != nil {
		return "", err
	}
	return c.data(message)
}

// data is DATA and the message.
func (c *talker) data(message string) (id string, err error) {
	if err := c.do("354", "DATA"); err != nil {
		return "", err
	}
	if err := c.send(strings.ReplaceAll(message, "\r\n.", "\r\n..") + ".\r\n"); err != nil {
		return "", err
	}
	return c.queued()
}

// queued reads the reply to the end of a message.
func (c *talker) queued() (id string, err error) {
	reply, err := c.reply()
	if err != nil {
		return "", err
	}
	_, id, ok := strings.Cut(reply, "queued as ")
	if !ok || !strings.HasPrefix(reply, "250") {
		return "", &unexpected{"250 ... queued as", reply}
	}
	return id, nil
}

// alice connects, changes over to TLS and logs in.
func (s *server) alice(config *tls.Config) (*talker, error) {
	c, err := connect("tcp", s.starttls, nil)
	if err != nil {
		return nil, err
	}
	err = all(
		func() error { return c.do("250", "EHLO client.example.org") },
		func() error { return c.starttls(config, nil) },
		func() error { return c.login("alice@example.org", "secret") },
	)
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// letter is a message of alice's; its subject tells it from others.
func letter(subject string) string {
	return "From: alice@example.org\r\nSubject: " + subject + "\r\n\r\nHello.\r\n"
}

// as connects to the port with TLS and logs in a user whose password is secret.
func (s *server) as(trust *tls.Config, user string) (*talker, error) {
	c, err := connect("tcp", s.implicit, trust)
	if err != nil {
		return nil, err
	}
	err = all(
		func() error { return c.do("250", "EHLO client.example.org") },
		func() error { return c.login(user, "secret") },
	)
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// mustSend submits one message in a session of its own and returns its queue id.
func (s *server) mustSend(trust *tls.Config, user, from, to, message string) (id string) {
	s.t.Helper()
	c, err := s.as(trust, user)
	if err == nil {
		defer c.close()
		id, err = c.submit(from, to, message)
	}
	if err != nil {
		s.t.Fatalf("%s to %s: %v", from, to, err)
	}
	return id
}

// logged waits for a line of the log that has all of the texts.
func (s *server) logged(texts ...string) (line string) {
	s.t.Helper()
	s.await(strings.Join(texts, ", "), func() bool {
		for line = range strings.Lines(s.log.String()) {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
				return true
			}
		}
		return false
	})
	return line
}
