package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	logged "go.uber.org/zap/zaptest/observer"
)

// issue makes a certificate for a key; the issuer may be nil, for one that is signed by itself.
func issue(t *testing.T, key crypto.Signer, name string, issuer *tls.Certificate, usage ...x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"msa.example.org"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: usage, IsCA: strings.HasPrefix(name, "CA"), BasicConstraintsValid: true}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey.(crypto.Signer)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func ecKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// with has a certificate come with that of others.
func with(cert *tls.Certificate, others ...*tls.Certificate) *tls.Certificate {
	all := *cert
	for _, o := range others {
		all.Certificate = append(all.Certificate[:len(all.Certificate):len(all.Certificate)], o.Certificate[0])
	}
	return &all
}

// Whatever clients refuse is a warning, and what they take is none.
func TestUnusable(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	key := ecKey(t, elliptic.P256())
	root := issue(t, ecKey(t, elliptic.P256()), "CA root", nil)
	between := issue(t, ecKey(t, elliptic.P256()), "CA between", root)
	other := issue(t, ecKey(t, elliptic.P256()), "CA between", nil) // of the same name, with another key
	server := issue(t, key, "server", between, x509.ExtKeyUsageServerAuth)
	for name, tt := range map[string]struct {
		cert *tls.Certificate
		want string
	}{
		"signed by itself":     {issue(t, key, "self", nil), ""},
		"with its issuer":      {with(server, between), ""},
		"with all":             {with(server, between, root), ""},
		"in another order":     {with(server, root, between), ""},
		"without its issuer":   {server, "without that of its issuer"},
		"with another's":       {with(server, other), "without that of its issuer"},
		"with the root alone":  {with(server, root), "without that of its issuer"},
		"for clients":          {with(issue(t, key, "server", between, x509.ExtKeyUsageClientAuth), between), "is not for servers"},
		"short":                {issue(t, short, "self", nil), "RSA key of 1024 bits"},
		"a curve that is gone": {issue(t, ecKey(t, elliptic.P224()), "self", nil), "has a key that TLS cannot use"},
	} {
		core, logs := logged.New(zap.WarnLevel)
		c := &Set{files: []Files{{Certificate: "cert.pem"}}, defaultName: "msa.example.org", log: zap.New(core)}
		c.certs.Store(&[]*tls.Certificate{tt.cert})
		c.check(time.Now())
		c.checkChains()
		said := logs.All()
		if tt.want == "" && len(said) > 0 || tt.want != "" && (len(said) != 1 || !strings.Contains(said[0].Message, tt.want) || said[0].ContextMap()["certificate"] != "cert.pem") {
			t.Errorf("%s: %v", name, said)
		}
	}
	old := issue(t, key, "server", between)
	old.Leaf.SignatureAlgorithm = x509.SHA1WithRSA // which crypto/x509 does not make any more
	if wrong := unusable(old); len(wrong) != 1 || !strings.Contains(wrong[0], "SHA1-RSA") {
		t.Error(wrong)
	}
}
