package httpautoconfig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/smallstep/pkcs7"
)

var errNoCertificate = errors.New("there is no certificate for this host")

// sign puts the text into a CMS structure that is signed with the certificate of the site that is asked.
func (h *Handler) sign(r *http.Request, text []byte) ([]byte, error) {
	cert, leaf := h.certificateFor(r)
	if cert == nil {
		return nil, errNoCertificate
	}
	data, err := pkcs7.NewSignedData(text)
	if err != nil {
		return nil, err
	}
	data.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := data.AddSigner(leaf, cert.PrivateKey, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, err
	}
	for _, der := range cert.Certificate[1:] {
		parent, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		data.AddCertificate(parent)
	}
	return data.Finish()
}

// certificateFor is the certificate of the host that the client wants, by TLS or by HTTP, which is valid the longest.
func (h *Handler) certificateFor(r *http.Request) (best *tls.Certificate, leaf *x509.Certificate) {
	host := r.Host
	if r.TLS != nil && r.TLS.ServerName != "" {
		host = r.TLS.ServerName
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	for _, c := range h.certificates(strings.ToLower(host)) {
		x, now := c.Leaf, time.Now()
		if x == nil || !canSign(c.PrivateKey) || now.After(x.NotAfter) || now.Before(x.NotBefore) {
			continue
		}
		if leaf == nil || x.NotAfter.After(leaf.NotAfter) {
			best, leaf = &c.Certificate, x
		}
	}
	return best, leaf
}

// canSign tells whether the library knows the kind of key.
func canSign(key crypto.PrivateKey) bool {
	s, ok := key.(crypto.Signer)
	if !ok {
		return false
	}
	switch s.Public().(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return true
	}
	return false
}
