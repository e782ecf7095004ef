package conf

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

// TLSClient is whom a TLS client trusts, and what it shows. Placeholders in paths are resolved
// when the config is loaded.
type TLSClient struct {
	// CA are PEM files with the CA certificates to trust in place of the system's. They are read
	// when the config is loaded.
	CA []string `json:"ca,omitempty"`
	// ServerName is the name that the server's certificate must have. Default: the host.
	ServerName string `json:"server_name,omitempty"`
	// ClientCertificate and ClientKey are PEM files to show to the server. They are read at each
	// handshake where they have changed.
	ClientCertificate string `json:"client_certificate,omitempty"`
	ClientKey         string `json:"client_key,omitempty"`

	authorities *Authorities // of CA, once they were read
}

// Settings are the lines of a Caddyfile block:
//
//	ca                 <pem_file...>
//	server_name        <name>
//	client_certificate <certificate_file> <key_file>
func (t *TLSClient) Settings() []Setting {
	return []Setting{
		List("ca", &t.CA),
		Text("server_name", &t.ServerName),
		Texts("client_certificate", "a certificate file and a key file", &t.ClientCertificate, &t.ClientKey),
	}
}

// IsZero tells whether nothing is set.
func (t *TLSClient) IsZero() bool {
	return len(t.CA) == 0 && t.ServerName == "" && t.ClientCertificate == "" && t.ClientKey == ""
}

// Config reads the files, so that a broken one fails the load.
func (t *TLSClient) Config() (*tls.Config, error) {
	if err := ExpandAll(Place("server_name", &t.ServerName)); err != nil {
		return nil, err
	}
	c := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	var err error
	if t.authorities, err = Roots(t.CA); err != nil {
		return nil, err
	}
	c.RootCAs = t.authorities.CertPool()
	if (t.ClientCertificate == "") != (t.ClientKey == "") {
		return nil, errors.New("client_certificate and client_key go together: set both or none")
	}
	if t.ClientCertificate == "" {
		return c, nil
	}
	client := &clientPair{certificate: t.ClientCertificate, key: t.ClientKey}
	if err := ExpandAll(Placed{"client_certificate", []*string{&client.certificate, &client.key}}); err != nil {
		return nil, err
	}
	if _, err := client.get(nil); err != nil {
		return nil, fmt.Errorf("client_certificate: %w", err)
	}
	c.GetClientCertificate = client.get
	return c, nil
}

// clientPair is looked at in each handshake, since certificates are replaced.
type clientPair struct {
	certificate, key string
	last             atomic.Pointer[tls.Certificate]
}

func (p *clientPair) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair, err := KeyPair(p.certificate, p.key)
	if err != nil {
		return nil, err
	}
	p.last.Store(pair)
	return pair, nil
}

// KeyPair reads a certificate chain and its key, in PEM, unless somebody has them in memory and they have not changed.
func KeyPair(certificate, key string) (*tls.Certificate, error) { return pairs.Read(certificate, key) }

var pairs = watch.Memo[tls.Certificate]{Parse: func(pems [][]byte, _ []string) (*tls.Certificate, error) {
	certificate, err := textfile.PEM(pems[0])
	if err != nil {
		return nil, err
	}
	key, err := textfile.PEM(pems[1])
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		err = pairError(err, certificate, key)
	}
	return &pair, err
}}

// pairError says what is wrong with a certificate and a key, where crypto/tls says only that something is.
func pairError(err error, certificate, key []byte) error {
	if bytes.Contains(key, []byte("ENCRYPTED")) {
		return errors.New("the key is encrypted; decrypt it with openssl pkey")
	}
	for block, rest := pem.Decode(certificate); block != nil && len(rest) > 0; block, rest = pem.Decode(rest) {
		if _, fits := tls.X509KeyPair(rest, key); fits == nil {
			return errors.New("the key is not that of the first certificate in the file, but of a later one: the server's own comes first, then its issuers'")
		}
	}
	return err
}

// Authorities are the CA certificates of some files. Whoever uses the pool keeps them too.
type Authorities struct {
	pool *x509.CertPool
	sum  [sha256.Size]byte
}

// CertPool is nil for the system's certificates, which no Authorities stand for.
func (a *Authorities) CertPool() *x509.CertPool {
	if a == nil {
		return nil
	}
	return a.pool
}

// Roots reads CA certificates in PEM, unless somebody has them in memory and the files have not changed. Without files
// it is nil: the system's.
func Roots(files []string) (*Authorities, error) {
	if len(files) == 0 {
		return nil, nil
	}
	paths := make([]string, len(files))
	for i, file := range files {
		var err error
		if paths[i], err = Expand(file); err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
	}
	a, err := authorities.Read(paths...)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return a, nil
}

var authorities = watch.Memo[Authorities]{Parse: func(pems [][]byte, paths []string) (*Authorities, error) {
	a := &Authorities{pool: x509.NewCertPool(), sum: sha256.Sum256(fmt.Appendf(nil, "%q", pems))}
	for i, pem := range pems {
		pem, err := textfile.PEM(pem)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", paths[i], err)
		}
		if !a.pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", paths[i])
		}
	}
	return a, nil
}}

// Digest tells apart settings and what the files of CA hold, for what is shared between configurations.
func (t *TLSClient) Digest() (sum [sha256.Size]byte, err error) {
	if t.authorities, err = Roots(t.CA); err != nil {
		return sum, err
	}
	var ca [sha256.Size]byte
	if t.authorities != nil {
		ca = t.authorities.sum
	}
	return sha256.Sum256(fmt.Appendf(nil, "%q %x %q %q %q", t.CA, ca, t.ServerName, t.ClientCertificate, t.ClientKey)), nil
}

// IsLoopback tells whether a host, without port, is this machine by name or address, so that nobody
// else can listen.
func IsLoopback(host string) bool {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}
