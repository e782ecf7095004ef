package smtpd

import (
	"fmt"
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
		c.end = End{Reason: EndPanic, Commands: c.end.Commands, BadCommands: c.end.BadCommands, Panic: fmt.Sprintf("%v\n%s", p, debug.Stack())}
		c.reply(421, code(4, 3, 0), "Internal error, closing the connection")
		_ = c.out.flush()
	}
	guarded(func() { c.abandon(c.end.Err) })
	if c.session != nil {
		guarded(func() { c.session.Close(c.end) })
	}
	c.cancel()
	c.hangUp()
	c.in.release()
	c.out.release()
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
	switch c.end.Reason {
	case EndLost:
		_ = c.raw.Close()
		return
	case EndBadCommands, EndAuthFailures, EndRefused, EndShutdown, EndTimeout, EndPanic:
		half, ok := nc.(interface{ CloseWrite() error })
		if ok && half.CloseWrite() == nil {
			_ = nc.SetReadDeadline(time.Now().Add(lingerTime))
			_ = c.in.discard(lingerOctets)
		}
	}
	_ = nc.Close()
}
