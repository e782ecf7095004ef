package webcall

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

// maxConnect bounds connecting, and then the TLS handshake. It matters once the call has been given up: net/http goes on
// for the next one.
const maxConnect = 30 * time.Second

// dialer connects to a service.
type dialer struct {
	socket string // of a service on this machine; empty: the URL says where
	tls    *tls.Config
	// control is net.Dialer's.
	control func(network, address string, c syscall.RawConn) error
}

func (d *dialer) plain(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return newConn(c), nil
}

// secure is done with the handshake when it returns.
func (d *dialer) secure(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	secured, err := Handshake(ctx, c, address, d.tls, maxConnect)
	if err != nil {
		return nil, err
	}
	return newConn(secured), nil
}

// Handshake begins TLS on a connection to an address, within the time. Its host is the server's name unless the configuration has
// one. The connection is closed when that fails.
func Handshake(ctx context.Context, c net.Conn, address string, config *tls.Config, within time.Duration) (net.Conn, error) {
	config = config.Clone()
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		config.ServerName = host
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	secured := tls.Client(c, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return secured, nil
}

func (d *dialer) connect(ctx context.Context, network, address string) (net.Conn, error) {
	if d.socket != "" {
		network, address = "unix", d.socket
	}
	return (&net.Dialer{Timeout: maxConnect, Control: d.control}).DialContext(ctx, network, address)
}
