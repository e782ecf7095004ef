package sasl

import (
	"bytes"
	"strings"

	"github.com/emersion/go-sasl"
)

// NewLogin returns the server side of one LOGIN exchange. The prompts are
// those that clients compare letter by letter. A user name that comes as the
// initial response is taken, as some clients send it.
func NewLogin(check PasswordFunc) sasl.Server {
	return &loginServer{check: check}
}

type loginServer struct {
	check PasswordFunc
	step  loginStep
	user  string
}

type loginStep int

const (
	loginStart loginStep = iota
	loginUser
	loginPassword
	loginOver
)

func (s *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case s.step == loginStart && response == nil:
		s.step = loginUser
		return []byte("Username:"), false, nil

	case s.step == loginStart, s.step == loginUser:
		if len(response) == 0 {
			s.step = loginOver
			return nil, false, malformed("LOGIN: empty user name")
		}
		s.user, s.step = string(response), loginPassword
		return []byte("Password:"), false, nil

	case s.step == loginPassword:
		s.step = loginOver
		if len(response) == 0 {
			return nil, false, claimed{malformed("LOGIN: empty password"), s.user}
		}
		if strings.Contains(s.user, "\x00") || bytes.IndexByte(response, 0) >= 0 { // PLAIN has none either
			return nil, false, claimed{malformed("LOGIN: NUL in the user name or the password"), s.user}
		}
		return nil, true, checkPair(s.check, s.user, string(response))
	}
	return nil, false, errOver
}
