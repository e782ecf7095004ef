package webcall

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// A service may answer before it has read a request, and close: 413 to a large one. net/http gives up at the failed write
// and never reads the answer, which has arrived. So a write that failed does not return before the connection is closed,
// and reading says what is the matter: an answer, or the error.

// lateAnswer is how long an answer may take after a write has failed. It has arrived by then, or nothing will.
const lateAnswer = 10 * time.Second

// conn is above TLS: what TLS writes when it is closed must not wait for the connection to be closed.
type conn struct {
	net.Conn
	broken atomic.Bool
	closed chan struct{}
	close  sync.Once
}

// HearOut makes of a connection, TLS included, one on which an early answer is heard, for others' transports.
func HearOut(c net.Conn) net.Conn { return newConn(c) }

func newConn(c net.Conn) *conn { return &conn{Conn: c, closed: make(chan struct{})} }

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.broken.Store(true)
		_ = c.SetReadDeadline(time.Now().Add(lateAnswer))
		<-c.closed
	}
	return n, err
}

func (c *conn) Close() error {
	c.close.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// track follows one request.
type track struct {
	by               *http.Transport
	conn             atomic.Pointer[conn]
	reused, answered atomic.Bool
}

func (t *track) context(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if c, ok := info.Conn.(*conn); ok {
				t.conn.Store(c)
			}
			t.reused.Store(info.Reused)
		},
		GotFirstResponseByte: func() { t.answered.Store(true) },
	})
}

// stale tells whether there was no answer on a connection that had been used before.
func (t *track) stale() bool { return t.reused.Load() && !t.answered.Load() }

func (t *track) connected() bool { return t.conn.Load() != nil }

// broken tells whether a part of the request was not sent.
func (t *track) broken() bool {
	c := t.conn.Load()
	return c != nil && c.broken.Load()
}

// tls is what TLS has agreed upon; nil without it.
func (t *track) tls() *tls.ConnectionState {
	c := t.conn.Load()
	if c == nil {
		return nil
	}
	secured, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := secured.ConnectionState()
	return &state
}
