//go:build unix

package app

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/certs"
)

// A handshake that began under a configuration with certificate files ends well though that
// was replaced meanwhile (docs/dev/architecture.md, decision 2).
func TestHandshakeOutlivesConfiguration(t *testing.T) {
	in := newInstance(t)
	files := certs.Files{Certificate: filepath.Join(in.dir, "cert.pem"), Key: filepath.Join(in.dir, "cert.key")}
	set, err := certs.Load([]certs.Files{files}, "s", "msa.example.org", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	srv := &Server{app: &App{ctx: ctx}, certs: set, TLSConnectionPolicies: caddytls.ConnectionPolicies{{TLSConfig: new(tls.Config)}}}
	if err := srv.startTLS(); err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	shaken := make(chan error, 1)
	conn := tls.Server(server, srv.tlsConfig)
	go func() { shaken <- tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
	srv.stopTLS()
	if err := conn.Handshake(); err != nil {
		t.Error(err)
	}
	if err := <-shaken; err != nil {
		t.Error(err)
	}
}
