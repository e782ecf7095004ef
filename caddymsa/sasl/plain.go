package sasl

import (
	"bytes"

	"github.com/emersion/go-sasl"
)

// PasswordFunc checks a user's password. The name has gone through SASLprep, the password is as the
// client sent it, without NUL and of at most 1024 octets: see PasswordForms. It
// returns nil when they belong together, an error with ErrCredentials in its
// chain when they do not, and any other error when it cannot tell. Errors
// reach the caller of Next unchanged.
type PasswordFunc func(user, password string) error

// NewPlain returns the server side of one PLAIN exchange (RFC 4616).
func NewPlain(check PasswordFunc) sasl.Server {
	return &plainServer{check: check}
}

type plainServer struct {
	check PasswordFunc
	asked bool // an empty challenge was sent
	over  bool
}

func (s *plainServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if s.over {
		return nil, false, errOver
	}
	if response == nil && !s.asked {
		s.asked = true
		return []byte{}, false, nil
	}
	s.over = true
	return nil, true, s.verify(response)
}

// verify takes "[authzid] NUL authcid NUL passwd" (RFC 4616 section 2).
func (s *plainServer) verify(response []byte) error {
	authzid, rest, ok := bytes.Cut(response, []byte{0})
	if !ok {
		return malformed("PLAIN: no NUL")
	}
	user, password, ok := bytes.Cut(rest, []byte{0})
	if !ok {
		return malformed("PLAIN: one NUL, want two")
	}
	if bytes.IndexByte(password, 0) >= 0 {
		return malformed("PLAIN: more than two NULs")
	}
	if len(user) == 0 || len(password) == 0 {
		return claimed{malformed("PLAIN: empty user name or password"), string(user)}
	}
	return checkPair(func(u, p string) error {
		if err := authorize(string(authzid), u); err != nil {
			return claimed{err, u}
		}
		return s.check(u, p)
	}, string(user), string(password))
}

// authorize compares an authorization identity as it came with a prepared
// user name.
func authorize(authzid, user string) error {
	if authzid == "" {
		return nil
	}
	z, err := PrepareQuery(authzid)
	if err != nil {
		return refused("authorization identity: " + err.Error())
	}
	return checkAuthzID(z, user)
}
