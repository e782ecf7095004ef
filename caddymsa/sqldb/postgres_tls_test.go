package sqldb

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// selfSigned is a certificate for this machine, and its PEM.
func selfSigned(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// A CA that was renewed under its name is trusted by the next connection, with no restart and no reload.
func TestRenewedCA(t *testing.T) {
	certificate, ca := selfSigned(t)
	_, former := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var trusted atomic.Bool
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// A server of PostgreSQL as far as TLS.
			if _, err := io.CopyN(io.Discard, c, 8); err == nil {
				_, _ = io.WriteString(c, "S")
				if tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}).Handshake() == nil {
					trusted.Store(true)
				}
			}
			_ = c.Close()
		}
	}()
	file := filepath.Join(t.TempDir(), "ca.pem")
	write := func(pem []byte) {
		t.Helper()
		if err := os.WriteFile(file, pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func() (ask func() error) {
		t.Helper()
		db, err := Open(Options{Driver: "postgres", DSN: "postgres://msa@" + l.Addr().String() + "/mail?sslmode=verify-full&sslrootcert=" + file, Timeout: time.Minute, Connections: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		q, err := db.Parse("SELECT {user}", "user", "local")
		if err != nil {
			t.Fatal(err)
		}
		return func() error {
			return db.Ask(context.Background(), q, func(string) string { return "" }, func(*sql.Rows) error { return nil })
		}
	}
	write(former)
	ask := open()
	if err := ask(); err == nil || trusted.Load() {
		t.Fatalf("a certificate of nobody was trusted, %v", err)
	}
	write(ca)
	if err := ask(); err == nil || !trusted.Load() {
		t.Errorf("the new CA is not trusted: %v", err)
	}
	ask = open()
	write(nil) // it is being written
	trusted.Store(false)
	if err := ask(); err == nil || !trusted.Load() {
		t.Errorf("the CA of before is not kept: %v", err)
	}
}
