//go:build unix

package app

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"
)

// A handshake that began under a configuration with certificate files ends well though that
// was replaced meanwhile (docs/dev/architecture.md, decision 2).
func TestHandshakeOutlivesConfiguration(t *testing.T) {
	dir := t.TempDir()
	files := CertificateFiles{Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	cert, key := certificatePEM(t, 1)
	for name, content := range map[string][]byte{files.Certificate: cert, files.Key: key} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certs, err := loadCertificateFiles([]CertificateFiles{files}, "s", "msa.example.org", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	srv := &Server{app: &App{ctx: ctx}, certs: certs, TLSConnectionPolicies: caddytls.ConnectionPolicies{{TLSConfig: new(tls.Config)}}}
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
