package authldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// security of a connection.
type security int

const (
	plaintext security = iota
	startTLS
	ldaps
)

// idleTime is how long a connection is kept that nobody uses: servers and firewalls forget them,
// and the latter say nothing.
const idleTime = time.Minute

// avoidTime is how long a server that failed is asked only when no other is left.
const avoidTime = 30 * time.Second

// purpose keeps connections apart: those for searches are bound as the service account and
// never as anybody else; those for logins are bound anew for each.
type purpose int

const (
	searches purpose = iota
	logins
	purposes
)

// server is one of the directory's.
type server struct {
	url              string
	network, address string
	security         security
	tls              *tls.Config
	now              func() time.Time

	slots [purposes]chan struct{} // as many connections at most

	mu      sync.Mutex
	idle    [purposes][]*conn
	closed  bool
	avoid   time.Time // until then
	willing time.Time // when it last judged a bind in the usual way
}

// newServer reads a URL: ldap://host[:port], ldaps://host[:port], or ldapi:// with the path of
// a socket after it, escaped or not.
func newServer(text string, o *options) (*server, error) {
	s := &server{url: text, now: time.Now}
	for p := range s.slots {
		s.slots[p] = make(chan struct{}, o.connections)
	}
	if len(text) > 8 && text[:8] == "ldapi://" {
		path, err := url.PathUnescape(text[8:])
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", text, err)
		}
		if path == "/" {
			path = "/var/run/slapd/ldapi"
		}
		s.network, s.address = "unix", path
		return s, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("server %q: write it as ldaps://ldap.example.org, ldap://ldap.example.org:389 or ldapi:///run/slapd/ldapi", text)
	}
	port := u.Port()
	switch {
	case u.Scheme == "ldaps":
		s.security = ldaps
		if port == "" {
			port = "636"
		}
	case u.Scheme != "ldap":
		return nil, fmt.Errorf("server %q: there are ldaps://, ldap:// and ldapi://", text)
	case o.startTLS || !o.plaintext && !conf.IsLoopback(u.Hostname()):
		s.security = startTLS
	}
	if port == "" {
		port = "389"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("server %q: there is no port %s; they go from 1 to 65535", text, port)
	}
	s.network, s.address = "tcp", net.JoinHostPort(u.Hostname(), port)
	if s.security != plaintext {
		s.tls = o.tls.Clone()
		if s.tls.ServerName == "" {
			s.tls.ServerName = u.Hostname()
		}
	}
	return s, nil
}

// errBusy says that it was not the server that took too long.
var errBusy = errors.New("all connections are in use")

// do runs f on a connection, which prepare has seen once, when it was new. An error that is
// broken is the server's.
func (s *server) do(ctx context.Context, p purpose, prepare, f func(*conn) error) error {
	select {
	case s.slots[p] <- struct{}{}:
		defer func() { <-s.slots[p] }()
	case <-ctx.Done():
		return errBusy
	}
	if c := s.take(p); c != nil {
		err := c.during(ctx, func() error { return f(c) })
		if !broken(err) {
			s.give(p, c)
			return err
		}
		c.close()
		if errors.Is(ctx.Err(), context.Canceled) { // the client went away
			return err
		}
		s.drop() // the server may have been restarted, or be gone without a word: then all are dead
		if ctx.Err() != nil {
			return err
		}
	}
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	if err := c.during(ctx, func() error { return prepare(c) }); err != nil {
		c.close()
		return err
	}
	if err = c.during(ctx, func() error { return f(c) }); broken(err) {
		c.close()
		return err
	}
	s.give(p, c)
	return err
}

// take returns the connection that was used last, or nil.
func (s *server) take(p purpose) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.idle[p]) > 0 {
		last := len(s.idle[p]) - 1
		c := s.idle[p][last]
		s.idle[p] = s.idle[p][:last]
		if !c.IsClosing() && s.now().Sub(c.idle) < idleTime {
			return c
		}
		c.close()
	}
	return nil
}

func (s *server) give(p purpose, c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || c.IsClosing() {
		c.close()
		return
	}
	c.idle = s.now()
	s.idle[p] = append(s.idle[p], c)
}

// drop closes what nobody uses.
func (s *server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, idle := range s.idle {
		for _, c := range idle {
			c.close()
		}
		s.idle[p] = nil
	}
}

// close is for good: what is in use is closed when it comes back.
func (s *server) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.drop()
}

func (s *server) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.avoid = s.now().Add(avoidTime)
}

// worked tells whether the server had failed before.
func (s *server) worked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.avoid
	s.avoid = time.Time{}
	return !before.IsZero()
}

func (s *server) avoided() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Before(s.avoid)
}
