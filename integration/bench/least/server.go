// Package least is the least that a submission server can do: accept, greet,
// STARTTLS, compare a password with a constant, read to the dot, store, 250. It
// checks nothing else and has no limits: it is a bound to measure real servers
// against, and the sink of the mail that they relay, never a server to run.
package least

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// Options of a server.
type Options struct {
	TLS   *tls.Config // nil: no STARTTLS
	User  string      // of AUTH PLAIN; empty: no AUTH
	Pass  string
	Store string // "discard" (default), "each" (file and fsync) or "group" (one log, shared fdatasync)
	Dir   string // of the store

	// Delay is how long a message takes, from its end to the reply.
	Delay time.Duration
	// Old: no PIPELINING, and a connection for each message.
	Old bool
}

// Server answers on one listener.
type Server struct {
	o        Options
	plain    []byte // the one right response to AUTH PLAIN
	store    store
	messages atomic.Int64
}

// New returns a server, with its store ready.
func New(o Options) (*Server, error) {
	if o.Store == "" {
		o.Store = "discard"
	}
	st, err := newStore(o.Store, o.Dir)
	if err != nil {
		return nil, err
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + o.User + "\x00" + o.Pass))
	return &Server{o: o, store: st, plain: []byte(plain)}, nil
}

// Messages is how many have been answered 250.
func (s *Server) Messages() int64 { return s.messages.Load() }

// Serve answers until the listener is closed.
func (s *Server) Serve(ln net.Listener) error {
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go s.session(nc)
	}
}

type session struct {
	*Server
	nc  net.Conn
	in  input
	out []byte // replies that are to be written before more is read
}

func (s *Server) session(nc net.Conn) {
	c := &session{Server: s, nc: nc}
	c.in = input{src: c, buf: make([]byte, lineSpace)}
	defer func() { c.nc.Close() }()
	c.reply("220 localhost ESMTP\r\n")
	for {
		line, err := c.in.line()
		if err != nil {
			return
		}
		if c.command(line) != nil {
			return
		}
	}
}

// Read writes what there is to answer first: a group of commands is answered in one (RFC 2920 section 3.2).
func (c *session) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.nc.Read(p)
}

func (c *session) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *session) reply(text string) { c.out = append(c.out, text...) }

var errQuit = errors.New("QUIT")

func (c *session) command(line []byte) error {
	verb, arg, _ := bytes.Cut(line, []byte(" "))
	switch string(bytes.ToUpper(verb)) {
	case "EHLO":
		c.reply(c.hello())
	case "HELO":
		c.reply("250 localhost\r\n")
	case "STARTTLS":
		return c.starttls()
	case "AUTH":
		if _, response, _ := bytes.Cut(arg, []byte(" ")); c.o.User == "" || !bytes.Equal(response, c.plain) {
			c.reply("535 5.7.8 Wrong\r\n")
			break
		}
		c.reply("235 2.7.0 Welcome\r\n")
	case "MAIL", "RCPT", "RSET", "NOOP":
		c.reply("250 2.0.0 OK\r\n")
	case "DATA":
		return c.data()
	case "QUIT":
		c.reply("221 2.0.0 Bye\r\n")
		return c.leave()
	default:
		c.reply("500 5.5.1 Unknown\r\n")
	}
	return nil
}

// leave ends the session.
func (c *session) leave() error {
	_ = c.flush()
	return errQuit
}

func (c *session) hello() string {
	text := "250-localhost\r\n"
	if !c.o.Old {
		text += "250-PIPELINING\r\n"
	}
	text += "250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n"
	if _, secure := c.nc.(*tls.Conn); c.o.TLS != nil && !secure {
		return text + "250 STARTTLS\r\n"
	}
	if c.o.User != "" {
		text += "250-AUTH PLAIN\r\n"
	}
	return text + "250 SIZE 104857600\r\n"
}

func (c *session) starttls() error {
	if c.o.TLS == nil {
		c.reply("502 5.5.1 No TLS\r\n")
		return nil
	}
	c.reply("220 2.0.0 Ready\r\n")
	if err := c.flush(); err != nil {
		return err
	}
	tc := tls.Server(c.nc, c.o.TLS)
	c.nc = tc
	return tc.Handshake()
}

func (c *session) data() error {
	d, err := c.store.begin()
	if err != nil {
		return err
	}
	c.reply("354 Go on\r\n")
	if err := c.in.text(d); err != nil {
		d.abort()
		return err
	}
	if err := d.commit(); err != nil {
		return err
	}
	time.Sleep(c.o.Delay)
	c.messages.Add(1)
	c.reply("250 2.0.0 Stored\r\n")
	if c.o.Old {
		return c.leave()
	}
	return nil
}
