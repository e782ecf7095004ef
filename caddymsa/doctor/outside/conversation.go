package outside

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// conversation is a connection to a port.
type conversation struct {
	p       port
	raw, nc net.Conn
	r       *bufio.Reader
	end     func() bool // of the watch on the context
}

// reply is what a server said at once.
type reply struct {
	code  int
	lines []string // without the code
}

// String is the reply's last line, fit for a terminal.
func (r reply) String() string {
	return short(fmt.Sprintf("%d %s", r.code, r.lines[len(r.lines)-1]))
}

// has tells whether a reply to EHLO has a keyword, and with what.
func (r reply) has(keyword string) (parameters string, ok bool) {
	for _, line := range r.lines[min(1, len(r.lines)):] {
		word, rest, _ := strings.Cut(line, " ")
		if strings.EqualFold(word, keyword) {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// short bounds what a stranger says.
func short(s string) string {
	const most = 120
	if s = terminal.Line(s); len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

// dial connects, without a word.
func (p port) dial(ctx context.Context) (*conversation, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	c := &conversation{p: p, raw: nc, nc: nc, r: bufio.NewReader(nc)}
	if p.Behind {
		if err := c.send("PROXY UNKNOWN\r\n"); err != nil { // as a balancer asks on its own behalf
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// open connects, shakes hands where that comes first, and reads the greeting.
func (p port) open(ctx context.Context) (*conversation, reply, error) {
	c, err := p.dial(ctx)
	if err != nil {
		return nil, reply{}, err
	}
	c.watch(ctx)
	if p.implicit {
		if err := c.handshake(p.config()); err != nil {
			c.close()
			return nil, reply{}, fmt.Errorf("TLS handshake: %w", err)
		}
	}
	greeting, err := c.reply()
	if err == nil && greeting.code != 220 {
		err = fmt.Errorf("the greeting is %s", greeting)
	}
	if err != nil {
		c.close()
		return nil, greeting, err
	}
	return c, greeting, nil
}

// secured connects and is within TLS after it; on a STARTTLS port without a second EHLO.
func (p port) secured(ctx context.Context) (*conversation, error) {
	c, _, err := p.open(ctx)
	if err != nil || p.implicit {
		return c, err
	}
	if _, err = c.ehlo(); err == nil {
		err = c.startTLS()
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// config takes any certificate: whether it is good is for a check of its own.
func (p port) config() *tls.Config {
	return &tls.Config{ServerName: p.Hostname, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
}

// watch closes the connection when ctx ends.
func (c *conversation) watch(ctx context.Context) {
	c.end = context.AfterFunc(ctx, func() { _ = c.raw.Close() })
}

func (c *conversation) close() {
	if c.end != nil {
		c.end()
	}
	_ = c.raw.Close()
}

// quit ends politely, so that nobody logs a connection that was lost.
func (c *conversation) quit() {
	_, _ = c.ask("QUIT")
	c.close()
}

func (c *conversation) handshake(config *tls.Config) error {
	conn := tls.Client(c.raw, config)
	_ = c.raw.SetDeadline(time.Now().Add(c.p.Timeout))
	if err := conn.Handshake(); err != nil {
		return err
	}
	c.nc = conn
	c.r = bufio.NewReader(conn)
	return nil
}

func (c *conversation) startTLS() error {
	r, err := c.ask("STARTTLS")
	switch {
	case err != nil:
		return err
	case r.code != 220:
		return fmt.Errorf("STARTTLS: %s", r)
	}
	if err := c.handshake(c.p.config()); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	return nil
}

func (c *conversation) send(text string) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.p.Timeout))
	_, err := c.nc.Write([]byte(text))
	return err
}

// ask says a command and reads the reply.
func (c *conversation) ask(command string) (reply, error) {
	if err := c.send(command + "\r\n"); err != nil {
		return reply{}, err
	}
	return c.reply()
}

// ehlo says EHLO, and fails if it is refused.
func (c *conversation) ehlo() (reply, error) {
	r, err := c.ask("EHLO " + c.p.Hello)
	if err == nil && r.code != 250 {
		err = fmt.Errorf("EHLO: %s", r)
	}
	return r, err
}

var errNotSMTP = errors.New("what answers does not speak SMTP")

// reply reads a reply of up to maxLines lines of up to the reader's buffer.
func (c *conversation) reply() (reply, error) {
	const maxLines = 100
	_ = c.nc.SetReadDeadline(time.Now().Add(c.p.Timeout))
	var r reply
	for range maxLines {
		b, err := c.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return r, fmt.Errorf("%w: a line of more than %d octets", errNotSMTP, len(b))
		}
		if err != nil {
			return r, err
		}
		line := strings.TrimRight(string(b), "\r\n")
		code, err := strconv.Atoi(line[:min(3, len(line))])
		if err != nil || len(line) < 3 || code < 200 || code > 599 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
			return r, fmt.Errorf("%w: %q", errNotSMTP, short(line))
		}
		r.code = code
		r.lines = append(r.lines, line[min(4, len(line)):])
		if len(line) == 3 || line[3] == ' ' {
			return r, nil
		}
	}
	return r, fmt.Errorf("%w: a reply of more than %d lines", errNotSMTP, maxLines)
}

// silent tells whether an error is that nothing came.
func silent(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
