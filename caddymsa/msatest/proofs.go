package msatest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"sync"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// Tokens holds a backend to the contract of caddymsa.TokenVerifier. token is user's.
func Tokens(t *testing.T, b caddymsa.TokenVerifier, user, token string) {
	t.Helper()
	ctx, peer := context.Background(), caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1"), Server: "msa.example.org", Session: "test"}
	for _, as := range []string{"", user, user} {
		if id, err := b.VerifyToken(ctx, peer, as, token); err != nil || id.User != user {
			t.Errorf("%s's token, as %q: %+v, %v", user, as, id, err)
		}
	}
	for _, wrong := range append([]string{token + "x", "x" + token, token[:len(token)-1], token + "\x00", token + "." + token}, strangers...) {
		_, err := b.VerifyToken(ctx, peer, user, wrong)
		refused(t, err, "a wrong token")
	}
	for _, name := range strangers {
		if name == "" {
			continue // which does not say who
		}
		_, err := b.VerifyToken(ctx, peer, name, token)
		refused(t, err, "a token of another user")
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := b.VerifyToken(ctx, peer, user, token); err != nil {
				t.Error("concurrently:", err)
			}
		})
	}
	wg.Wait()
}

// Certificates holds a backend to the contract of caddymsa.CertificateMapper. known is user's
// certificate, and unknown nobody's.
func Certificates(t *testing.T, b caddymsa.CertificateMapper, user string, known, unknown *x509.Certificate) {
	t.Helper()
	ctx, peer := context.Background(), caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1"), Server: "msa.example.org", Session: "test"}
	chain := func(c *x509.Certificate) *tls.ConnectionState {
		return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c}}}
	}
	id, err := b.MapCertificate(ctx, peer, chain(known))
	if err != nil || id.User != user {
		t.Errorf("%s's certificate: %+v, %v", user, id, err)
	}
	if l, ok := b.(caddymsa.Lookuper); ok && err == nil {
		if s, selective := b.(caddymsa.Selective); !selective || s.Serves(caddymsa.CapLookup) {
			if again, err := l.Lookup(ctx, peer, user); err != nil || again.Fingerprint != id.Fingerprint {
				t.Errorf("looking up %s: %+v, %v; it logged in with %+v", user, again, err, id)
			}
		}
	}
	for what, state := range map[string]*tls.ConnectionState{
		"a certificate of nobody's":              chain(unknown),
		"a certificate that was not verified":    {PeerCertificates: []*x509.Certificate{known}},
		"no certificate":                         {},
		"a chain without a certificate":          {VerifiedChains: [][]*x509.Certificate{{}}},
		"only unknown's chain, known as a guest": {PeerCertificates: []*x509.Certificate{known}, VerifiedChains: [][]*x509.Certificate{{unknown}}},
	} {
		_, err := b.MapCertificate(ctx, peer, state)
		refused(t, err, what)
	}
}
