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

	unread []byte // of the packet that has come
}

// maxPacket is the longest that milters send, without its length.
const maxPacket = 1 << 20

// Read gives whole packets, amended. The library takes half a gigabyte for one if a milter says so, and panics at one of nothing.
func (c *conn) Read(b []byte) (n int, err error) {
	if len(c.unread) == 0 {
		var head [4]byte
		if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
			return 0, err
		}
		length := binary.BigEndian.Uint32(head[:])
		if length == 0 || length > maxPacket {
			return 0, fmt.Errorf("a packet of %d octets is none of a milter's", length)
		}
		packet := make([]byte, length)
		if _, err := io.ReadFull(c.Conn, packet); err != nil {
			return 0, err
		}
		packet = amended(packet)
		c.unread = append(binary.BigEndian.AppendUint32(nil, uint32(len(packet))), packet...)
	}
	n = copy(b, c.unread)
	c.unread = c.unread[n:]
	return n, nil
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
