package sasl

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
)

// DigestConfig is what a DIGEST-MD5 server needs to know.
type DigestConfig struct {
	// Realms that the challenge offers (UTF-8, compared exactly); a response
	// must name one of them. Empty: none is offered, and none may be named.
	Realms []string

	// Hosts are the names that a client may write into digest-uri: the
	// server's hostname and its aliases, in any case. Empty: any.
	Hosts []string

	// Rand is where the nonce comes from. Nil: crypto/rand.
	Rand io.Reader

	// Verify finds the user's credentials, tries them with r.Matches or
	// r.MatchesPassword, and returns nil when one matched and the user may come
	// in, an error with ErrCredentials in its chain when not, and any other
	// error when it cannot tell. Without a match nil is refused too. Required.
	Verify func(r *DigestResponse) error
}

// maxDigestChallenge is the size that a challenge must stay below (RFC 2831
// section 2.1.1).
const maxDigestChallenge = 2048

// Validate reports realms that no challenge can carry. NewDigestMD5 does not
// ask, so this is for the moment when a configuration is loaded.
func (c DigestConfig) Validate() error {
	for _, realm := range c.Realms {
		if realm == "" || hasControl([]byte(realm)) || strings.ToValidUTF8(realm, "") != realm {
			return fmt.Errorf("realm %q: want UTF-8 text without control characters", realm)
		}
	}
	if n := len(c.challenge(strings.Repeat("0", 2*nonceSize))); n >= maxDigestChallenge {
		return fmt.Errorf("the realms make a challenge of %d octets, limit %d", n, maxDigestChallenge-1)
	}
	return nil
}

// NewDigestMD5 returns the server side of one DIGEST-MD5 exchange (RFC 2831):
// initial authentication with qop=auth, no subsequent authentication. It makes
// a nonce of its own, which is good for this exchange only.
func NewDigestMD5(config DigestConfig) sasl.Server {
	return &digestServer{config: config}
}

type digestServer struct {
	config DigestConfig
	step   digestStep
	nonce  string
}

type digestStep int

const (
	digestStart digestStep = iota
	digestResponse
	digestEnd // rspauth is sent, an empty response is due
	digestOver
)

func (s *digestServer) Next(response []byte) (challenge []byte, done bool, err error) {
	step := s.step
	s.step = digestOver // unless all goes well
	switch step {
	case digestStart:
		if response != nil {
			// Only subsequent authentication begins with one (section 2.2).
			return nil, false, fmt.Errorf("DIGEST-MD5: %w", ErrInitialResponse)
		}
		if s.nonce, err = newNonce(s.config.Rand); err != nil {
			return nil, false, err
		}
		s.step = digestResponse
		return []byte(s.config.challenge(s.nonce)), false, nil

	case digestResponse:
		rspauth, err := s.verify(response)
		if err != nil {
			return nil, false, err
		}
		s.step = digestEnd
		return []byte("rspauth=" + rspauth), false, nil

	case digestEnd:
		if len(response) > 0 {
			return nil, false, malformed("DIGEST-MD5: want an empty response to rspauth")
		}
		return nil, true, nil
	}
	return nil, false, errOver
}

// challenge is the digest-challenge of RFC 2831 section 2.1.1. What is quoted
// and what is not matters to clients: curl gives up on a quoted algorithm.
func (c DigestConfig) challenge(nonce string) string {
	var b strings.Builder
	for _, realm := range c.Realms {
		b.WriteString("realm=" + quote(realm) + ",")
	}
	b.WriteString("nonce=" + quote(nonce) + `,qop="auth",charset=utf-8,algorithm=md5-sess`)
	return b.String()
}

// verify returns the rspauth value for a response that is right.
func (s *digestServer) verify(response []byte) (rspauth string, err error) {
	r, err := parseDigestResponse(response)
	if err != nil {
		return "", err
	}
	if r.in.nonce != s.nonce {
		return "", refused("nonce is not the one of the challenge")
	}
	if err := checkDigestURI(r.in.uri, s.config.Hosts); err != nil {
		return "", err
	}
	if !s.offered(r.Realm) {
		return "", refused(fmt.Sprintf("realm %q was not offered", r.Realm))
	}
	if r.in.authzid != nil {
		if err := checkAuthzID(*r.in.authzid, r.User); err != nil {
			return "", err
		}
	}
	if err := s.config.Verify(r); err != nil {
		return "", err
	}
	if r.rspauth == "" {
		return "", refused("no credential matched")
	}
	return r.rspauth, nil
}

func (s *digestServer) offered(realm string) bool {
	if len(s.config.Realms) == 0 {
		return realm == ""
	}
	return slices.Contains(s.config.Realms, realm)
}

// nonceSize is 128 bit, twice what RFC 2831 section 2.1.1 asks for.
const nonceSize = 16

func newNonce(r io.Reader) (string, error) {
	if r == nil {
		r = rand.Reader
	}
	var b [nonceSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", errors.Join(errors.New("no randomness for a nonce"), err)
	}
	return hex.EncodeToString(b[:]), nil
}
