package app

import (
	"crypto/tls"
	"errors"
	"slices"
	"testing"
)

// A name that no public CA would certify gets Caddy's internal issuer.
func TestIsPublic(t *testing.T) {
	for name, want := range map[string]bool{
		"msa.example.org": true, "msa.overheidstransactiepoort.nl": true,
		"localhost": false, "msa.test": false, "msa.EXAMPLE": false, "192.0.2.1": false, "mail.local": false, "mail.internal": false,
	} {
		if got := isPublic(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// a name that certmagic refuses is no reason to refuse the client.
func TestOrFallback(t *testing.T) {
	const good, fallback = "good.example", "msa.example.test"
	for name, asked := range map[string][]string{
		good: {good}, "mail_relay": {"mail_relay", fallback}, "": {""}, fallback: {fallback},
	} {
		var got []string
		get := orFallback(func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			got = append(got, hello.ServerName)
			if hello.ServerName != good {
				return nil, errors.New("no certificate")
			}
			return new(tls.Certificate), nil
		}, fallback)
		hello := &tls.ClientHelloInfo{ServerName: name}
		if _, err := get(hello); (err == nil) != (name == good) {
			t.Errorf("%q: %v", name, err)
		}
		if !slices.Equal(got, asked) || hello.ServerName != name {
			t.Errorf("%q: asked for %q, and left %q", name, got, hello.ServerName)
		}
	}
}
