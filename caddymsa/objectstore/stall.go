package objectstore

import (
	"context"
	"net"
	"time"
)

// stall is how long a store may neither take nor send an octet before the connection is given up. It is longer than the transport's own
// limits, which say more, and is there for what they leave out: an object that is being read, of which net/http waits for the rest forever.
const stall = 2 * time.Minute

// dialer connects as another one does, with connections that do not stall for longer than after.
func dialer(dial func(ctx context.Context, network, address string) (net.Conn, error), after time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &conn{c, after}, nil
	}
}

// conn ends what stalls.
type conn struct {
	net.Conn
	after time.Duration
}

// Read implements net.Conn. Whoever reads slowly has as much time for each piece as if it were the first.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.after)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn. An answer is waited for from the last octet of the request on.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.after)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
