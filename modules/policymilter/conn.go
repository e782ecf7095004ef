package policymilter

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// dialer makes connections whose reads may be allowed more time at the end.
type dialer struct {
	network, address string
	timeout          time.Duration
}

func (d *dialer) dial(ctx context.Context) (*conn, error) {
	nc, err := (&net.Dialer{Timeout: d.timeout}).DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: nc}, nil
}

// conn can be ended from elsewhere for good: deadlines that come later do nothing. The library has
// one time-out for all answers, so that the last one's is stretched here.
type conn struct {
	net.Conn
	mu     sync.Mutex
	ended  bool
	longer time.Duration

	head   [4]byte // of the packet that comes
	unread []byte  // of head
	left   int     // of the packet behind it
}

// maxPacket is the longest that milters send, without its length.
const maxPacket = 1 << 20

// Read gives whole packets. The library takes half a gigabyte for one if a milter says so, and panics at one of nothing.
func (c *conn) Read(b []byte) (n int, err error) {
	if len(c.unread) == 0 && c.left == 0 {
		if _, err := io.ReadFull(c.Conn, c.head[:]); err != nil {
			return 0, err
		}
		length := binary.BigEndian.Uint32(c.head[:])
		if length == 0 || length > maxPacket {
			return 0, fmt.Errorf("a packet of %d octets is none of a milter's", length)
		}
		c.unread, c.left = c.head[:], int(length)
	}
	if len(c.unread) > 0 {
		n = copy(b, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	n, err = c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// patient gives answers this long from now on.
func (c *conn) patient(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.longer = d
}

func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	_ = c.Conn.SetDeadline(time.Unix(1, 0))
}

func (c *conn) deadline(set func(time.Time) error, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	if longer := time.Now().Add(c.longer); c.longer > 0 && !t.IsZero() && longer.After(t) {
		t = longer
	}
	return set(t)
}

func (c *conn) SetDeadline(t time.Time) error     { return c.deadline(c.Conn.SetDeadline, t) }
func (c *conn) SetReadDeadline(t time.Time) error { return c.deadline(c.Conn.SetReadDeadline, t) }
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.deadline(c.Conn.SetWriteDeadline, t)
}
