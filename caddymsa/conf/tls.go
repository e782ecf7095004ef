package conf

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
	"github.com/caddyserver/caddy/v2"
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
	// handshake.
	ClientCertificate string `json:"client_certificate,omitempty"`
	ClientKey         string `json:"client_key,omitempty"`
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
	c := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	var err error
	if c.RootCAs, err = Roots(t.CA); err != nil {
		return nil, err
	}
	if (t.ClientCertificate == "") != (t.ClientKey == "") {
		return nil, errors.New("client_certificate and client_key go together: set both or none")
	}
	if t.ClientCertificate == "" {
		return c, nil
	}
	pair := func() (*tls.Certificate, error) {
		r := caddy.NewReplacer()
		pair, err := tls.LoadX509KeyPair(r.ReplaceAll(t.ClientCertificate, ""), r.ReplaceAll(t.ClientKey, ""))
		return &pair, err
	}
	if _, err := pair(); err != nil {
		return nil, fmt.Errorf("client_certificate: %w", err)
	}
	// Read at each handshake, since certificates are replaced.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair() }
	return c, nil
}

// Roots reads CA certificates in PEM; without files it is nil: the system's.
func Roots(files []string) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, nil
	}
	pems, err := readFiles(files)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	for i, pem := range pems {
		if !pool.AppendCertsFromPEM(textfile.Unmarked(pem)) {
			return nil, fmt.Errorf("ca: %s holds no certificate in PEM", files[i])
		}
	}
	return pool, nil
}

// Digest tells apart settings and what the files of CA hold, for what is shared between configurations.
func (t *TLSClient) Digest() (sum [sha256.Size]byte, err error) {
	pems, err := readFiles(t.CA)
	if err != nil {
		return sum, fmt.Errorf("ca: %w", err)
	}
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", t.CA, pems, t.ServerName, t.ClientCertificate, t.ClientKey)), nil
}

func readFiles(files []string) ([][]byte, error) {
	all := make([][]byte, len(files))
	for i, file := range files {
		path, err := caddy.NewReplacer().ReplaceOrErr(file, true, true)
		if err != nil {
			return nil, err
		}
		if all[i], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// IsLoopback tells whether a host, without port, is this machine by name or address, so that nobody
// else can listen.
func IsLoopback(host string) bool {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}
