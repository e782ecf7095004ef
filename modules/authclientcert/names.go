package authclientcert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
)

// kinds of names that a certificate may have.
var kinds = []string{"email", "dns", "uri", "cn", "serial_number", "subject", "sha256"}

// names are a certificate's names of a kind. Empty ones, and such with control
// characters, which a CA should not have signed, are left out.
func names(cert *x509.Certificate, kind string) (all []string) {
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

// key is a name as it stands in a map.
func key(kind, name string) string { return kind + ":" + name }
