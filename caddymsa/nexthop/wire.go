package nexthop

import (
	"bufio"
	"context"
	"errors"
	"net"
	"time"
)

// wire is a connection to a next hop: commands leave in flights, replies come one by one.
type wire struct {
	conn  net.Conn // with TLS, if there is any
	raw   net.Conn // below it
	r     *bufio.Reader
	w     []byte        // commands that have not left yet
	block time.Duration // how long a write may take

	readBy, writtenBy time.Time // deadlines that were set
}

// inputSize is a connection's input buffer: an answer to EHLO fits.
const inputSize = 2 << 10

func newWire(conn net.Conn, block time.Duration) *wire {
	return &wire{conn: conn, raw: conn, r: bufio.NewReaderSize(conn, inputSize), block: block}
}

// say has a command leave with the next flight.
func (c *wire) say(command string) {
	c.w = append(append(c.w, command...), "\r\n"...)
}

// flush sends what was said.
func (c *wire) flush() error {
	if len(c.w) == 0 {
		return nil
	}
	err := c.write(c.w)
	c.w = c.w[:0]
	if cap(c.w) > maxFlight { // an idle connection keeps little
		c.w = nil
	}
	return err
}

func (c *wire) write(p []byte) error {
	if by, late := moved(c.writtenBy, c.block); late {
		c.writtenBy = by
		if err := c.conn.SetWriteDeadline(by); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(p)
	return plain(err)
}

// moved is a deadline that is d from now, up to a 128th more: it is set anew only when that is no longer so, for to move it
// costs as much as a short reply.
func moved(at time.Time, d time.Duration) (by time.Time, late bool) {
	now := time.Now()
	if left := at.Sub(now); left >= d && left <= d+d/128 {
		return at, false
	}
	return now.Add(d + d/128), true
}

// plain is a network error without the addresses, which are said elsewhere: two connections that fail
// alike have one error.
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "read" || op.Op == "write") {
		return op.Err
	}
	return err
}

// reply reads a reply, all of which comes within the time.
func (c *wire) reply(within time.Duration) (reply, error) {
	if by, late := moved(c.readBy, within); late {
		c.readBy = by
		if err := c.conn.SetReadDeadline(by); err != nil {
			return reply{}, err
		}
	}
	r, err := readReply(c.r)
	return r, plain(err)
}

// ask says one command, and reads the reply to it.
func (c *wire) ask(command string, within time.Duration) (reply, error) {
	c.say(command)
	if err := c.flush(); err != nil {
		return reply{}, err
	}
	return c.reply(within)
}

// abortWith closes the connection when ctx ends, whatever it is doing: no alert, no QUIT that could
// block. release ends that, and tells whether the connection is still there.
func (c *wire) abortWith(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.raw.Close() })
}
