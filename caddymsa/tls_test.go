package caddymsa

import "testing"

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
