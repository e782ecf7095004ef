// Package outside looks at a submission server as its clients see it, this one or another vendor's. The requirements that it names,
// R-01 and so on, are those of docs/dev/requirements.md.
//
// It does no harm: it logs in only as told, begins no message but the one it is told to submit, and sends few enough commands that
// are refused for no server to block the address that it comes from.
package outside

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Target is a server to look at.
type Target struct {
	// Hostname is what the server is to call itself, and what its certificate is to be for.
	Hostname string
	// StartTLS and Implicit are the addresses of its ports, host:port.
	StartTLS, Implicit []string
	// Roots are the CAs that clients trust; nil: the system's.
	Roots *x509.CertPool
	// Fingerprint is of the certificate in force, if that is known from within: see Fingerprint.
	Fingerprint string
	// Ours is set for a caddy-msa: remedies are settings of the Caddyfile then.
	Ours bool
	// Behind is set for a port that is behind a balancer which says the client's address by the PROXY protocol.
	Behind bool
	// Thorough looks too whether strangers who go on and on are shown out, for which some servers block an address.
	Thorough bool
	// Hello is the name to give in EHLO. Default: doctor.invalid.
	Hello string
	// Timeout bounds each step. Default: 10s.
	Timeout time.Duration
	// Limit bounds all of them together: what was not looked at by then is named. Default: 30s, or 2m for a thorough look.
	Limit time.Duration

	// Login is an account to log in with; nil: none.
	Login *Login
	// Submit is a message to submit; nil: none.
	Submit *Submit
	// Now is the time. Default: time.Now.
	Now func() time.Time
}

func (t *Target) defaults() {
	if t.Hello == "" {
		t.Hello = "doctor.invalid"
	}
	if t.Timeout == 0 {
		t.Timeout = 10 * time.Second
	}
	if t.Limit == 0 {
		t.Limit = 30 * time.Second
		if t.Thorough {
			t.Limit = 2 * time.Minute
		}
	}
	if t.Now == nil {
		t.Now = time.Now
	}
}

// port is one of a target's ports.
type port struct {
	*Target
	address  string
	implicit bool
}

func (t *Target) ports() (all []port) {
	for _, a := range t.StartTLS {
		all = append(all, port{t, a, false})
	}
	for _, a := range t.Implicit {
		all = append(all, port{t, a, true})
	}
	return all
}

func (p port) about(check string) *doctor.Notes { return doctor.About(check, p.address) }

// Checks are those of a target, in the order in which they are worth reading.
func (t *Target) Checks() []doctor.Check {
	t.defaults()
	return []doctor.Check{doctor.Func(t.look)}
}

// Fingerprint is how certificates in force are compared.
func Fingerprint(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return hex.EncodeToString(sum[:])
}
