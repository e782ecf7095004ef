package authldap

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// conn is a connection that one goroutine uses at a time.
type conn struct {
	*ldap.Conn
	raw  net.Conn
	idle time.Time // since when nobody has used it
}

// during runs f, which talks on the connection, and ends both with ctx: go-ldap knows no contexts,
// but everything in it returns when the socket is closed.
func (c *conn) during(ctx context.Context, f func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	err := f()
	if !stop() {
		return fmt.Errorf("%w", context.Cause(ctx))
	}
	return err
}

func (c *conn) close() {
	_ = c.raw.Close() // first, so that nothing waits for the server
	_ = c.Conn.Close()
}

// dial connects, within ctx, and begins TLS where it is wanted.
func (s *server) dial(ctx context.Context) (*conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, s.network, s.address)
	if err != nil {
		return nil, err
	}
	var over = raw
	if s.security == ldaps {
		secured := tls.Client(raw, s.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		over = secured
	}
	c := &conn{Conn: ldap.NewConn(over, s.security == ldaps), raw: raw}
	c.Start()
	if s.security == startTLS {
		if err := c.during(ctx, func() error { return c.StartTLS(s.tls) }); err != nil {
			c.close()
			return nil, startTLSFailed{err}
		}
	}
	return c, nil
}

// startTLSFailed hides the result code: whatever it was, the server is of no use.
type startTLSFailed struct{ cause error }

func (e startTLSFailed) Error() string { return "StartTLS: " + e.cause.Error() }
