package authldap

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

func (l *LDAP) readRoots(o *options) (all []byte, err error) {
	for _, path := range l.CA {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		if o.roots == nil {
			o.roots = x509.NewCertPool()
		}
		if !o.roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s: no certificate in PEM", path)
		}
		all = append(all, pem...)
	}
	return all, nil
}

// tlsConfig verifies that a server is the one of that name.
func (o *options) tlsConfig(host string) *tls.Config {
	c := &tls.Config{ServerName: host, RootCAs: o.roots, MinVersion: tls.VersionTLS12}
	if o.serverName != "" {
		c.ServerName = o.serverName
	}
	if o.certificate != "" {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(o.certificate, o.key)
			return &pair, err
		}
	}
	return c
}
