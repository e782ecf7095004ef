package outside

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// soon is how long before its end a certificate should have been renewed: public CAs' last 90 days and less, and clients of
// Let's Encrypt renew them 30 days before.
const soon = 14 * 24 * time.Hour

// certificate looks at what a port shows, and returns its own certificate.
func (p port) certificate(ctx context.Context) (*doctor.Notes, *x509.Certificate) {
	n := p.about("certificate")
	c, err := p.secured(ctx)
	if err != nil {
		n.Wrong(p.noTLS(), "R-03: no TLS: %s", short(err.Error()))
		return n, nil
	}
	defer c.quit()
	chain := c.nc.(*tls.Conn).ConnectionState().PeerCertificates
	leaf := chain[0]
	p.dates(n, chain)
	p.names(n, leaf)
	p.chain(n, chain)
	if k, ok := leaf.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() < 2048 {
		n.Wrong("make a key of at least 2048 bits, or of P-256", "its RSA key has %d bits, which clients refuse", k.N.BitLen())
	}
	if p.Fingerprint != "" && p.Fingerprint != Fingerprint(leaf) {
		n.Wrong("find what is in front (a balancer that ends TLS, another process on the port"+listener(p.address)+"), or have it pass TLS through",
			"it is not the one that the server has in force: somebody else answers")
	}
	if n.Clean() {
		n.OK("R-03: it is for %s, by %s, until %s", p.Hostname, short(leaf.Issuer.String()), leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return n, leaf
}

func (p port) noTLS() string {
	if p.Ours {
		return "the log says why there is no certificate: with a public CA the host's name must lead here and ports 80 or 443 be open; tls <certificate> <key> takes files, tls internal Caddy's own CA"
	}
	return "set the server's certificate up (Postfix: smtpd_tls_chain_files, smtpd_tls_security_level; Exim: tls_certificate, tls_advertise_hosts)"
}

func (p port) dates(n *doctor.Notes, chain []*x509.Certificate) {
	now := p.Now()
	for i, cert := range chain {
		what, renew := "the certificate", p.renew()
		if i > 0 {
			what, renew = "the issuer's certificate that comes with it, "+short(cert.Subject.String())+",", "serve the chain that the CA hands out today"
		}
		switch {
		case now.After(cert.NotAfter) && i > 0: // that the chain needs it is another finding
			n.Warn(renew, "%s has expired on %s: old clients take the chain for broken", what, cert.NotAfter.UTC().Format(time.DateTime))
		case now.After(cert.NotAfter):
			n.Wrong(renew, "%s has expired on %s", what, cert.NotAfter.UTC().Format(time.DateTime))
		case now.Before(cert.NotBefore):
			n.Wrong("is the clock right, here and where it was made?", "%s is valid from %s on", what, cert.NotBefore.UTC().Format(time.DateTime))
		case i == 0 && now.Add(soon).After(cert.NotAfter) && now.Add(cert.NotAfter.Sub(cert.NotBefore)/3).After(cert.NotAfter):
			n.Warn(renew, "%s ends on %s, and was not renewed yet", what, cert.NotAfter.UTC().Format(time.DateTime))
		}
	}
}

func (p port) renew() string {
	if p.Ours {
		return "put the new one into the files of tls, which are read again by themselves; one of an issuer's is renewed by Caddy, whose log says what fails"
	}
	return "renew it, and have the server read it again"
}

func (p port) names(n *doctor.Notes, leaf *x509.Certificate) {
	if p.Hostname == "" || leaf.VerifyHostname(p.Hostname) == nil {
		return
	}
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		n.Wrong("get a certificate that has the name as a subject alternative name", "it has no names but a common name, %q, which clients do not look at", short(leaf.Subject.CommonName))
		return
	}
	n.Wrong("get one for "+p.Hostname+", or give clients the name that it has", "it is not for %s, but for %s", p.Hostname, short(strings.Join(names, ", ")))
}

// chain verifies as clients do, but for names and dates, which are told apart.
func (p port) chain(n *doctor.Notes, chain []*x509.Certificate) {
	leaf := chain[0]
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	at := p.Now()
	if at.After(leaf.NotAfter) || at.Before(leaf.NotBefore) {
		at = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: p.Roots, Intermediates: between, CurrentTime: at})
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
	case errors.As(err, &unknown) && leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil:
		n.Wrong("get one from a CA that clients trust, or have them trust this one (and name its file here with --ca)", "it is signed by itself, which clients do not trust")
	case errors.As(err, &unknown) && len(chain) == 1:
		n.Wrong("serve the chain, the server's certificate first (fullchain.pem of certbot); if "+short(leaf.Issuer.String())+" is a CA of your own, name its certificate with --ca",
			"no chain leads from it to a CA that is trusted here, and the server sends nothing but its own")
	case errors.As(err, &unknown):
		n.Wrong("if it is a CA of your own, clients must trust it: name its certificate with --ca (Caddy's internal CA: pki/authorities/local/root.crt in its storage)",
			"it leads to a CA that is not trusted here: %s", short(chain[len(chain)-1].Issuer.String()))
	default:
		n.Wrong("get one that clients accept", "clients do not accept it: %s", short(err.Error()))
	}
}

// sameCertificate compares what the ports show.
func sameCertificate(shown map[string]*x509.Certificate, order []port) []doctor.Finding {
	var first string
	n := doctor.About("certificate", "")
	for _, p := range order {
		leaf := shown[p.address]
		switch {
		case leaf == nil:
		case first == "":
			first = p.address
		case !leaf.Equal(shown[first]):
			n.Subject = p.address
			n.Wrong("have both ports use the same files, or find whose the other port is", "it is another one than on %s: serial numbers %X and %X", first, leaf.SerialNumber, shown[first].SerialNumber)
		}
	}
	return n.Findings
}
