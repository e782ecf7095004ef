package sasl

import (
	"unicode/utf8"

	"github.com/emersion/go-sasl"
)

// NewExternal returns the server side of one EXTERNAL exchange (RFC 4422
// appendix A). identity says who the client is by what it has shown outside
// of SASL, its TLS certificate; its errors reach the caller of Next unchanged.
// The client may name that identity or leave the name empty. What identity
// returned counts only once Next has said done without an error.
func NewExternal(identity func() (user string, err error)) sasl.Server {
	return &externalServer{identity: identity}
}

type externalServer struct {
	identity func() (string, error)
	asked    bool // an empty challenge was sent
	over     bool
}

func (s *externalServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if s.over {
		return nil, false, errOver
	}
	if response == nil && !s.asked {
		s.asked = true
		return []byte{}, false, nil
	}
	s.over = true
	if !utf8.Valid(response) || hasControl(response) {
		return nil, false, malformed("EXTERNAL: authorization identity is not text")
	}
	user, err := s.identity()
	if err != nil {
		return nil, false, err
	}
	if user == "" {
		return nil, false, refused("EXTERNAL: no identity")
	}
	return nil, true, checkAuthzID(string(response), user)
}
