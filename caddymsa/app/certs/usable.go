package certs

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"

	"go.uber.org/zap"
)

// unusable says why clients refuse a certificate whatever the time and the name.
func unusable(cert *tls.Certificate) (wrong []string) {
	leaf := cert.Leaf
	if k, ok := leaf.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() < 2048 {
		wrong = append(wrong, fmt.Sprintf("has an RSA key of %d bits, of which clients want 2048", k.N.BitLen()))
	}
	if err := anyClient.SupportsCertificate(cert); err != nil {
		wrong = append(wrong, fmt.Sprintf("has a key that TLS cannot use (%v)", err))
	}
	if !isServers(leaf) {
		wrong = append(wrong, "is not for servers (its extended key usage says so)")
	}
	if !isSelfIssued(leaf) && slices.Contains(broken, leaf.SignatureAlgorithm) {
		wrong = append(wrong, "is signed with "+leaf.SignatureAlgorithm.String()+", which proves nothing any more")
	}
	return wrong
}

// anyClient offers whatever this server knows.
var anyClient = &tls.ClientHelloInfo{
	SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12},
	CipherSuites:      []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	SupportedCurves:   []tls.CurveID{tls.CurveP256, tls.CurveP384, tls.CurveP521, tls.X25519},
	SupportedPoints:   []uint8{0},
	SignatureSchemes: []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512, tls.PKCS1WithSHA256,
		tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512, tls.Ed25519},
}

// broken are signatures that no client takes from a CA.
var broken = []x509.SignatureAlgorithm{x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}

func isServers(leaf *x509.Certificate) bool {
	return len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
}

func isSelfIssued(c *x509.Certificate) bool { return string(c.RawIssuer) == string(c.RawSubject) }

// checkChains warns of certificates whose issuer clients may not know. It is told once: where the issuer is a CA of the operator's
// own, clients were given its certificate.
func (c *Set) checkChains() {
	for i, cert := range *c.certs.Load() {
		if leaf := cert.Leaf; !isSelfIssued(leaf) && !hasIssuer(cert) && !isOfKnownCA(leaf) {
			c.log.Warn("the certificate comes without that of its issuer; clients that do not have it themselves will not connect: put it into the file, behind the server's own",
				zap.String("certificate", c.files[i].Certificate), zap.String("issuer", leaf.Issuer.String()))
		}
	}
}

// hasIssuer tells whether the issuer's certificate is in the file.
func hasIssuer(cert *tls.Certificate) bool {
	return slices.ContainsFunc(cert.Certificate[1:], func(der []byte) bool {
		issuer, err := x509.ParseCertificate(der)
		return err == nil && string(issuer.RawSubject) == string(cert.Leaf.RawIssuer) && cert.Leaf.CheckSignatureFrom(issuer) == nil
	})
}

// isOfKnownCA tells whether the system has the issuer's certificate.
func isOfKnownCA(leaf *x509.Certificate) bool {
	_, err := leaf.Verify(x509.VerifyOptions{CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}
