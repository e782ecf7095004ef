package integration

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// nothing limits how often a client comes.
func TestNoThrottle(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	for range 300 {
		nc, err := net.Dial("tcp", s.starttls)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(patience))
		line, err := bufio.NewReader(nc).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "220 ") {
			t.Fatalf("%q, %v", line, err)
		}
		nc.Close()
	}
}

// limits are the operator's, and announced where SMTP lets them be.
func TestLimitsAreAnnounced(t *testing.T) {
	t.Parallel()
	s := start(t, layout{msa: "limits {\n message_size 1MiB\n recipients 150\n}"})
	conn, err := tls.Dial("tcp", s.implicit, s.tlsConfig())
	if err != nil {
		t.Fatal(err)
	}
	c := smtp.NewClient(conn)
	defer c.Close()
	if size, _ := c.MaxMessageSize(); size != 1<<20 {
		t.Errorf("SIZE %d", size)
	}
	if ok, params := c.Extension("LIMITS"); !ok || params != "RCPTMAX=150" {
		t.Errorf("LIMITS %v %q", ok, params)
	}
}

// Client certificates by Caddy's connection policies: required, a client without one
// does not get through the handshake (the first half of R-19).
func TestClientAuth(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	certificate, ca := clientCertificate(t)
	s.write("clients.pem", ca)
	s.write("Caddyfile", s.caddyfile(layout{tls: `tls {
		client_auth {
			mode require_and_verify
			trust_pool file $DIR/clients.pem
		}
	}`}))
	s.writeUsers("")
	s.run()
	config := s.tlsConfig()
	config.Certificates = []tls.Certificate{certificate}
	greeting := func(config *tls.Config) error {
		conn, err := tls.Dial("tcp", s.implicit, config)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, err = bufio.NewReader(conn).ReadString('\n')
		return err
	}
	await(t, "a handshake with a client certificate", func() bool { return greeting(config) == nil })
	config = config.Clone()
	config.Certificates = nil
	if greeting(config) == nil {
		t.Error("a client without a certificate was let in")
	}
}

// clientCertificate is a certificate that is its own CA.
func clientCertificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(ca)
}
