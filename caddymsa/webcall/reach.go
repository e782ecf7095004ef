package webcall

import (
	"context"
	"net"
	"net/url"
)

// Reach connects to the service as calls do, TLS included, and asks it nothing.
func (c *Client) Reach(ctx context.Context) error {
	u, err := url.Parse(c.url)
	if err != nil {
		return err
	}
	port, dial := "80", c.transport.DialContext
	if u.Scheme == "https" {
		port, dial = "443", c.transport.DialTLSContext
	}
	if u.Port() != "" {
		port = u.Port()
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}
