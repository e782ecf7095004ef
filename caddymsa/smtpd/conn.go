// Package smtpd is an SMTP submission engine (RFC 6409): the dialogue with one
// client, from its first byte to its last. It knows nothing of Caddy; what it
// needs to know it asks a Backend, and what the client wants it tells a Session.
//
// Reading order: conn.go and ending.go (the connection), input.go and output.go (octets),
// command.go (the table of verbs), then one file a verb.
package smtpd

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Options are a connection's few seams. The zero value is good.
type Options struct {
	// Authenticated is called once, when the client has authenticated.
	Authenticated func()
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// TLS is the state of a handshake that was made before, on the connection as it is handed to New; nil
	// where there was none.
	TLS *tls.ConnectionState
	// Go runs a handshake beside the session; nil means a new goroutine.
	Go func(func())
}

// Conn is one client's connection. Serve owns it; the methods that others may call
// say so.
type Conn struct {
	backend  Backend
	options  Options
	implicit bool
	id       string
	remote   net.Addr
	ctx      context.Context
	cancel   context.CancelFunc

	session  Session
	settings *Settings // as of the last command
	started  time.Time
	in       input
	out      output

	// What the client has told so far.
	tlsState      *tls.ConnectionState
	ehlo          bool // EHLO or HELO, or STARTTLS, which stands for it
	helo          string
	authenticated bool
	tx            Transaction
	recipients    int
	refusedRcpts  int
	excuses       int      // how many commands may yet follow a MAIL that was refused
	utf8          bool     // SMTPUTF8 was asked for
	message       *message // of DATA, or of BDAT since its first chunk
	end           End
	authFailures  int
	verb, arg     string    // of the command that is running, for Session.Refused
	wire          *wire     // beneath our TLS; nil: there is none
	silent        bool      // a handshake failed: nothing more is said or read in clear
	writtenBy     time.Time // nc's deadline of writes; zero: another one, or none

	raw      net.Conn   // as accepted
	mu       sync.Mutex // guards what follows and authenticated; the owner alone writes those and nc, and reads them without
	nc       net.Conn   // raw, or TLS on it
	stopping bool       // Shutdown was called
	crowded  bool       // MakeRoom was called
	idle     bool       // waiting for a command outside a transaction
	shaking  bool       // waiting for a handshake
	readBy   time.Time  // nc's deadline of reads; zero: another one, or none
}

// New makes a connection of an accepted socket, of which it asks nothing yet: with the PROXY
// protocol even the client's address is something to wait for. With implicitTLS the handshake comes
// first (RFC 8314).
func New(nc net.Conn, b Backend, implicitTLS bool, o Options) *Conn {
	if o.Go == nil {
		o.Go = func(f func()) { go f() }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Conn{backend: b, options: o, implicit: implicitTLS, raw: nc, nc: nc, id: NewID(), settings: new(Settings)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.started, c.tlsState = o.Now(), o.TLS
	c.in.conn, c.out.conn = c, c
	return c
}

// NewID names a session in the log.
func NewID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// ID names the session in the log.
func (c *Conn) ID() string { return c.id }

// RemoteAddr is the client's address. It is nil before Serve.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr is ours, as the client sees it.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// TLS is nil before the handshake.
func (c *Conn) TLS() *tls.ConnectionState { return c.tlsState }

// Helo is the name that the client gave in EHLO, within TLS; empty if none.
func (c *Conn) Helo() string { return c.helo }

// Authenticated tells whether AUTH has succeeded.
func (c *Conn) Authenticated() bool { return c.authenticated }

// Context ends with the connection.
func (c *Conn) Context() context.Context { return c.ctx }

// Shutdown asks the session to end: a client between transactions hears 421 at once,
// another after its transaction. It may be called from any goroutine.
func (c *Conn) Shutdown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if c.idle {
		c.interrupt()
	}
}

// MakeRoom asks the session to end because there are too many strangers: 421, unless the client
// has authenticated by the time that it could be said. It may be called from any goroutine.
func (c *Conn) MakeRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.authenticated {
		return
	}
	c.crowded = true
	if c.idle || c.shaking {
		c.interrupt()
	}
}

// Close breaks the connection. It may be called from any goroutine.
func (c *Conn) Close() {
	c.cancel()
	_ = c.raw.Close() // not TLS's, which would have something to say first
}

// Refuse says 421 in clear text to a client for which there is no room, and closes.
func Refuse(nc net.Conn, text string) {
	_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
	line := appendText([]byte("421 4.7.0 "), text, maxReply-len("421 4.7.0 \r\n"))
	_, _ = nc.Write(append(line, '\r', '\n'))
	select {
	case refusing <- struct{}{}:
		linger(nc, func() { _, _ = io.Copy(io.Discard, io.LimitReader(nc, lingerOctets)) })
		<-refusing
	default: // a flood, which has not to hear it
	}
	_ = nc.Close()
}

// refusing bounds the refused clients that are given time to hear it.
var refusing = make(chan struct{}, 256)

// Serve runs the dialogue. It returns when the connection is closed.
func (c *Conn) Serve() {
	defer c.finish()
	err := c.run()
	var s *stop
	if errors.As(err, &s) {
		c.end.Reason, c.end.Err = s.reason, s.err
	} else {
		c.end.Reason, c.end.Err = EndLost, err
	}
}

func (c *Conn) run() error {
	c.remote = c.raw.RemoteAddr()
	s := c.backend.Settings()
	switch {
	case s == nil && c.implicit: // nothing can be said before the handshake
		return &stop{reason: EndShutdown}
	case s == nil:
		return c.close421(code(4, 3, 2), "Service not available, try again later", EndShutdown)
	}
	c.settings = s
	session, err := c.backend.NewSession(c) // before the handshake: a failed one is for the session to log
	switch {
	case err != nil && c.implicit:
		return &stop{reason: EndRefused, err: err}
	case err != nil:
		return c.turnedAway(err)
	}
	c.session = session
	if c.implicit && c.tlsState == nil {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	c.out.line("220 ", c.settings.Hostname, " ESMTP")
	for {
		if err := c.next(); err != nil {
			return err
		}
	}
}

// orDefault is what a setting of v means: zero stands for the default.
func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
