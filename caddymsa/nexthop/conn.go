package nexthop

import (
	"context"
	"errors"
	"net"
	"time"
)

// conn stands between go-smtp's client and the connection (TLS or not). The
// client sets a deadline for each command and the reply to it, and none for what
// it writes of a message; this has one for every write, and lets whole messages
// past the client's own dot writer, which is slow.
type conn struct {
	net.Conn
	raw      net.Conn      // below TLS
	data     time.Duration // for each write
	greeting string        // to be read before anything else
	held     []byte        // goes out with the next write
	heard    int           // octets since the last write
}

// maxReply bounds what is heard in a row: the client keeps all lines of a reply.
const maxReply = 256 << 10

var errReply = errors.New("the next hop does not stop talking")

func (c *conn) Read(p []byte) (int, error) {
	if c.greeting != "" {
		n := copy(p, c.greeting)
		c.greeting = c.greeting[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if c.heard += n; c.heard > maxReply {
		return 0, errReply
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	c.heard = 0
	b := p
	if c.held != nil {
		b = append(c.held, p...)
		c.held = nil
	}
	if err := c.SetWriteDeadline(time.Now().Add(c.data)); err != nil {
		return 0, err
	}
	if _, err := c.Conn.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}

// hold keeps b, which the caller leaves alone until the next Write.
func (c *conn) hold(b []byte) { c.held = b }

// SetDeadline is the client's. It sets one before everything that it reads, so
// that lifting it in between only costs time; writes have their own.
func (c *conn) SetDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	return c.SetReadDeadline(t)
}

// abortWith closes the connection when ctx ends, whatever it is doing: no
// alert, no QUIT that could block. release ends that, and reports whether the
// connection is still there.
func (c *conn) abortWith(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.raw.Close() })
}
