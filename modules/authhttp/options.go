package authhttp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
	"github.com/caddyserver/caddy/v2"
)

// Defaults of settings.
const (
	DefaultTimeout     = 5 * time.Second
	DefaultConcurrency = 64
)

// defaultDecoy is what `caddy msa user` writes by default.
const defaultDecoy = "ARGON2ID SCRAM-SHA-256"

// minHMACKey is in octets: a shorter key could be found by trying.
const minHMACKey = 16

// options are settings without placeholders, which can be compared: who has the same shares a service.
type options struct {
	url, socket      string
	plaintext        bool // through the network
	bearer, hmacKey  string
	roots            string // certificates in PEM; empty: the system's
	serverName       string
	certificate, key string
	timeout          time.Duration
	concurrent       int
	decoy            string
}

// resolve checks the settings and replaces placeholders.
func (h *HTTP) resolve() (options, error) {
	o := options{serverName: h.ServerName, timeout: time.Duration(h.Timeout), concurrent: h.Concurrency, decoy: strings.Join(h.Decoy, " ")}
	var err error
	for _, s := range []struct {
		name, value string
		into        *string
	}{
		{"url", h.URL, &o.url}, {"socket", h.Socket, &o.socket}, {"bearer", h.Bearer, &o.bearer}, {"hmac_key", h.HMACKey, &o.hmacKey},
		{"client_certificate", h.ClientCertificate, &o.certificate}, {"client_key", h.ClientKey, &o.key},
	} {
		if *s.into, err = caddy.NewReplacer().ReplaceOrErr(s.value, true, true); err != nil {
			return o, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if o.timeout == 0 {
		o.timeout = DefaultTimeout
	}
	if o.concurrent == 0 {
		o.concurrent = DefaultConcurrency
	}
	if o.decoy == "" && h.Credentials {
		o.decoy = defaultDecoy
	}
	switch {
	case o.decoy != "" && !h.Credentials:
		return o, errors.New("decoy is for credentials on; otherwise the service sees to it that nobody learns who exists")
	case o.timeout < 0 || o.concurrent < 0 || h.Cache < 0:
		return o, errors.New("timeout, concurrency and cache cannot be negative")
	case h.Cache > 0 && h.NoLookup && !h.Credentials:
		return o, errors.New("cache needs the action lookup: without it, users who are gone would still be let in")
	}
	if err := h.resolveURL(&o); err != nil {
		return o, err
	}
	if err := o.checkSecrets(); err != nil {
		return o, err
	}
	return o, h.resolveTLS(&o)
}

// resolveURL wants https where passwords leave the machine.
func (h *HTTP) resolveURL(o *options) error {
	if o.url == "" {
		return errors.New("url is required, as in http https://auth.example.org/msa")
	}
	u, err := url.Parse(o.url)
	switch {
	case err != nil: // which has the whole text in it
		return errors.New("url: cannot be parsed; it should be as https://auth.example.org/msa is")
	case u.User != nil:
		return errors.New("url: has a user or a password in it; prove who asks with bearer, hmac_key or client_certificate")
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("url: %s is no address of a web service, as https://auth.example.org/msa is", u.Redacted())
	case u.Scheme == "http" && o.socket == "" && !isLoopback(u.Hostname()):
		if !h.InsecurePlaintext {
			return fmt.Errorf("url: passwords would go to %s in clear text; use https, or say insecure_plaintext", u.Host)
		}
		o.plaintext = true
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (o *options) checkSecrets() error {
	o.bearer, o.hmacKey = strings.TrimRight(o.bearer, "\r\n"), strings.TrimRight(o.hmacKey, "\r\n") // of a file
	if strings.ContainsFunc(o.bearer, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return errors.New("bearer: is no token: it has a space or other character in it that a header cannot carry")
	}
	if o.hmacKey != "" && len(o.hmacKey) < minHMACKey {
		return fmt.Errorf("hmac_key: is shorter than %d octets; make one with openssl rand -hex 32", minHMACKey)
	}
	return nil
}

// resolveTLS reads the certificates, so that a broken one fails the load.
func (h *HTTP) resolveTLS(o *options) error {
	if (o.certificate == "") != (o.key == "") {
		return errors.New("client_certificate and client_key belong together")
	}
	if strings.HasPrefix(o.url, "http:") && (o.certificate != "" || o.serverName != "" || len(h.CA) > 0) {
		return errors.New("url: is http, and the settings are for https: ca, server_name or client_certificate")
	}
	if o.certificate != "" {
		if _, err := tls.LoadX509KeyPair(o.certificate, o.key); err != nil {
			return fmt.Errorf("client_certificate: %w", err)
		}
	}
	for _, file := range h.CA {
		path, err := caddy.NewReplacer().ReplaceOrErr(file, true, true)
		if err != nil {
			return fmt.Errorf("ca: %w", err)
		}
		pem, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("ca: %w", err)
		}
		pem = textfile.Unmarked(pem)
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca: %s holds no certificate in PEM", path)
		}
		o.roots += string(pem) + "\n"
	}
	return nil
}

// tlsConfig verifies that the service is the one of that name.
func (o *options) tlsConfig() *tls.Config {
	c := &tls.Config{ServerName: o.serverName, MinVersion: tls.VersionTLS12}
	if o.roots != "" {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM([]byte(o.roots))
	}
	if o.certificate != "" {
		certificate, key := o.certificate, o.key
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(certificate, key)
			return &pair, err
		}
	}
	return c
}
