package authclientcert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// kinds of names that a certificate may have.
var kinds = []string{"email", "dns", "uri", "cn", "serial_number", "subject", "sha256"}

// namesOf are a certificate's names of a kind. Empty ones, and such with control
// characters, which a CA should not have signed, are left out.
func namesOf(cert *x509.Certificate, kind string) (all []string) {
	switch kind {
	case "email":
		all = cert.EmailAddresses
	case "dns":
		all = cert.DNSNames
	case "uri":
		for _, u := range cert.URIs {
			all = append(all, u.String())
		}
	case "cn":
		all = []string{cert.Subject.CommonName}
	case "serial_number":
		all = []string{cert.Subject.SerialNumber}
	case "subject":
		all = []string{cert.Subject.String()}
	case "sha256":
		sum := sha256.Sum256(cert.Raw)
		all = []string{hex.EncodeToString(sum[:])}
	}
	var fit []string
	for _, name := range all {
		if name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
			fit = append(fit, fold(kind, name))
		}
	}
	return fit
}

// fold makes names alike that are one: domains and digits do not know case.
func fold(kind, name string) string {
	switch kind {
	case "dns":
		return strings.ToLower(name)
	case "sha256":
		return strings.ToLower(strings.ReplaceAll(name, ":", ""))
	case "email":
		if i := strings.LastIndexByte(name, '@'); i >= 0 {
			return name[:i] + strings.ToLower(name[i:])
		}
	}
	return name
}

// key is what a name is found by in a map. Attributes of a subject match without regard to case (X.520
// section 6.2), and so do addresses, unless c says otherwise; a URI does not.
func key(c names.Case, kind, name string) string {
	name = fold(kind, name)
	if kind != "uri" {
		name = c.Key(name)
	}
	return kind + ":" + name
}
