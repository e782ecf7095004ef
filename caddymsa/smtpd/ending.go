package smtpd

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime/debug"
	"time"
)

// stop is the error that ends a session as it should.
type stop struct {
	reason string
	err    error
}

func (s *stop) Error() string { return s.reason }

func (s *stop) Unwrap() error { return s.err }

// finish tells the session and closes, whatever happened.
func (c *Conn) finish() {
	if p := recover(); p != nil {
		c.end.Reason, c.end.Err = EndPanic, nil
		c.end.Panic = fmt.Sprintf("%v\n%s", p, debug.Stack())
		c.reply(421, code(4, 3, 0), "Internal error, closing the connection")
	}
	c.part()
	guarded(func() { c.abandon(c.end.Err) })
	if c.session != nil {
		guarded(func() { c.session.Close(c.end) })
	}
	c.cancel()
	c.hangUp()
	c.in.release()
	c.out.release()
}

// part sends what was answered, which is heard whatever ends the session. Of a client that quits TLS takes leave in the
// same write.
func (c *Conn) part() {
	conn, ok := c.nc.(*tls.Conn)
	if c.end.Reason != EndQuit || c.wire == nil || !ok {
		_ = c.out.flush()
		return
	}
	c.wire.gathers = true
	_ = c.out.flush()
	_ = conn.CloseWrite()
	by, _ := c.writeBy()
	_ = c.wire.SetWriteDeadline(by) // TLS has let it pass
	_ = c.wire.flush()
}

// guarded runs the last calls into a session: one that panicked once may do so again.
func guarded(call func()) {
	defer func() { _ = recover() }()
	call()
}

// lingerTime is how long a client that was told to go may take to hear it: closing with octets
// unread resets the connection, and the last reply with it.
const (
	lingerTime   = time.Second
	lingerOctets = 256 << 10
)

func (c *Conn) hangUp() {
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	switch {
	case c.end.Reason == EndLost:
		_ = c.raw.Close()
		return
	case c.silent, c.end.Reason == EndQuit && c.in.buffered() == 0:
	default:
		linger(nc, func() { _ = c.in.discard(lingerOctets) })
	}
	_ = nc.Close()
}

// linger says that nothing more will come, and reads what the client still has to say.
func linger(nc net.Conn, drain func()) {
	if half, ok := nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = nc.SetReadDeadline(time.Now().Add(lingerTime))
		drain()
	}
}
