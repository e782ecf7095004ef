package objectstore

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

// maxConnect bounds connecting, and then the TLS handshake.
const maxConnect = 10 * time.Second

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// secured connects with TLS. It is done with the handshake when it returns.
func secured(dial dialFunc, config *tls.Config) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return webcall.Handshake(ctx, c, address, config, maxConnect)
	}
}

// heard connects so that a store may answer before it has read an object, and close: that it is too large, say.
func heard(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return webcall.HearOut(c), nil
	}
}
