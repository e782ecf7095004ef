// Package sasl has the SASL mechanisms that a submission server needs, on
// go-sasl's Server and Client interfaces. It knows neither SMTP nor Caddy.
//
// A server is made for one exchange and is driven by Next: Next(nil) when the
// client sent no initial response, Next([]byte{}) for an empty one, and so on
// with each response until done or an error. Whatever a mechanism has to say
// at its end (rspauth, server-final) comes as a challenge with done=false,
// since SMTP cannot carry data with its 235; an empty response then ends it.
//
// Credentials are asked for through callbacks at the moment they are needed,
// because the configuration may be replaced while a client thinks.
package sasl

import (
	"errors"
	"fmt"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// Mechanism names, as they stand in EHLO and AUTH.
const (
	DigestMD5       = "DIGEST-MD5"         // RFC 2831
	External        = "EXTERNAL"           // RFC 4422 appendix A
	OAuthBearer     = "OAUTHBEARER"        // RFC 7628
	Login           = "LOGIN"              // draft-murchison-sasl-login
	Plain           = "PLAIN"              // RFC 4616
	SCRAMSHA256     = "SCRAM-SHA-256"      // RFC 7677
	SCRAMSHA256Plus = "SCRAM-SHA-256-PLUS" // RFC 7677, RFC 9266
	XOAuth2         = "XOAUTH2"            // Google, Microsoft
)

// Names lists the mechanisms of this package, strongest first.
func Names() []string {
	return []string{External, SCRAMSHA256Plus, SCRAMSHA256, DigestMD5, Plain, Login, OAuthBearer, XOAuth2}
}

// What Next can fail with. The errors are wrapped; ask with errors.Is. The
// text around them is for the log and never holds a secret. Any other error
// comes from a callback, as it was, or from the source of randomness.
var (
	// ErrMalformed: the response breaks the mechanism's syntax. SMTP: 501 5.5.2.
	ErrMalformed = errors.New("malformed response")

	// ErrInitialResponse: an initial response to a mechanism in which the
	// server speaks first (RFC 4954 section 4). SMTP: 501 5.7.0.
	ErrInitialResponse = errors.New("initial response not allowed")

	// ErrCredentials: wrong, unknown, or not entitled. SMTP: 535 5.7.8.
	ErrCredentials = errors.New("authentication failed")
)

// claimed is an error of an exchange in which the client named a user of whom no callback has heard.
type claimed struct {
	error
	user string
}

func (c claimed) Unwrap() error { return c.error }

// Claimed is the user that a client named whose exchange failed before a callback was asked, for the log. Empty: none, or a
// callback was asked.
func Claimed(err error) string {
	c, _ := errors.AsType[claimed](err)
	return c.user
}

// errOver says that Next was called after its exchange had ended.
var errOver = fmt.Errorf("%w: the exchange is over", ErrMalformed)

func malformed(detail string) error {
	return fmt.Errorf("%w: %s", ErrMalformed, detail)
}

func refused(detail string) error {
	return fmt.Errorf("%w: %s", ErrCredentials, detail)
}

// checkAuthzID refuses to let user act as anyone but itself: the authorization identity is empty or
// the user name, in any case.
func checkAuthzID(authzid, user string) error {
	if authzid != "" && !names.Same(authzid, user) {
		return refused(fmt.Sprintf("%q asked to act as %q", user, authzid))
	}
	return nil
}

// hasControl reports whether b has a NUL or another ASCII control character.
func hasControl(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c == 0x7f {
			return true
		}
	}
	return false
}
