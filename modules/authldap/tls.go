package authldap

import (
	"crypto/tls"
	"fmt"
	"os"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func (l *LDAP) readRoots(o *options) (all []byte, err error) {
	for _, path := range l.CA {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		all = append(all, pem...)
	}
	o.roots, err = conf.Roots(l.CA)
	return all, err
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
