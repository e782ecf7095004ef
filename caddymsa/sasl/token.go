package sasl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
)

// TokenFunc checks a bearer token. user is who the client asks to be, after SASLprep, or empty
// if it does not say. It returns nil when the token is good for that user, an error with
// ErrCredentials in its chain when it is not, perhaps in a *TokenRefusal, and any other error when
// it cannot tell.
type TokenFunc func(user, token string) error

// TokenRefusal is an ErrCredentials that tells the client what a token for this server needs
// (RFC 7628 section 3.2.2).
type TokenRefusal struct {
	// Status is "invalid_token", the default, or "insufficient_scope".
	Status string
	// Scope that is needed, as in an authorization request. Empty: not told.
	Scope string
	// OpenIDConfiguration is the URL of the issuer's configuration. Empty: not told.
	OpenIDConfiguration string
	// Err is the cause, for the log only.
	Err error
}

// Error has nothing that the client is not told, but the cause.
func (r *TokenRefusal) Error() string {
	if r.Err == nil {
		return ErrCredentials.Error() + ": " + r.status()
	}
	return fmt.Sprintf("%v: %s: %v", ErrCredentials, r.status(), r.Err)
}

// Unwrap makes it an ErrCredentials.
func (r *TokenRefusal) Unwrap() []error { return []error{ErrCredentials, r.Err} }

func (r *TokenRefusal) status() string {
	if r.Status == "" {
		return "invalid_token"
	}
	return r.Status
}

// NewOAuthBearer returns the server side of one OAUTHBEARER exchange (RFC 7628). go-sasl's
// panics when a client answers an error with nothing.
func NewOAuthBearer(check TokenFunc) sasl.Server {
	return &tokenServer{check: check, parse: parseOAuthBearer, challenge: oauthBearerChallenge}
}

// NewXOAuth2 returns the server side of one XOAUTH2 exchange, which Google and Microsoft
// describe and many clients speak.
func NewXOAuth2(check TokenFunc) sasl.Server {
	return &tokenServer{check: check, parse: parseXOAuth2, challenge: xoauth2Challenge}
}

type tokenServer struct {
	check     TokenFunc
	parse     func(response []byte) (user, token string, err error)
	challenge func(*TokenRefusal) []byte

	asked   bool  // an empty challenge was sent
	refused error // the client was told, and has to say so
	over    bool
}

func (s *tokenServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if s.over {
		return nil, false, errOver
	}
	if s.refused != nil { // whatever it says: \x01 in OAUTHBEARER, nothing in XOAUTH2
		s.over = true
		return nil, false, s.refused
	}
	if response == nil && !s.asked {
		s.asked = true
		return []byte{}, false, nil
	}
	s.over = true
	user, token, err := s.parse(response)
	if err != nil {
		return nil, false, err
	}
	if user != "" {
		prepared, err := PrepareQuery(user)
		if err != nil {
			return nil, false, refused("user name: " + err.Error())
		}
		user = prepared
	}
	err = s.check(user, token)
	if err == nil || !errors.Is(err, ErrCredentials) {
		return nil, err == nil, err
	}
	// An error takes another turn, since SMTP cannot carry data with its 535.
	refusal := new(TokenRefusal)
	if r, ok := errors.AsType[*TokenRefusal](err); ok {
		refusal = r
	}
	s.refused, s.over = err, false
	return s.challenge(refusal), false, nil
}

// parseOAuthBearer takes "n,a=user,\x01auth=Bearer token\x01\x01" (RFC 7628 section 3.1).
func parseOAuthBearer(response []byte) (user, token string, err error) {
	header, pairs, ok := bytes.Cut(response, []byte{1})
	if !ok || !utf8.Valid(response) {
		return "", "", malformed("OAUTHBEARER: no key/value pairs")
	}
	flag, authzid, ok := strings.Cut(string(header), ",")
	if !ok || flag != "n" && flag != "y" { // there is no -PLUS to bind to
		return "", "", malformed("OAUTHBEARER: gs2-header")
	}
	authzid, ok = strings.CutSuffix(authzid, ",")
	if !ok {
		return "", "", malformed("OAUTHBEARER: gs2-header")
	}
	if authzid != "" {
		name, ok := strings.CutPrefix(authzid, "a=")
		if !ok || name == "" || strings.Contains(name, ",") {
			return "", "", malformed("OAUTHBEARER: authorization identity")
		}
		if user, err = saslname(name); err != nil {
			return "", "", err
		}
	}
	token, err = bearer(pairs)
	return user, token, err
}

// saslname undoes the escapes of RFC 5801 section 4.
func saslname(s string) (string, error) {
	for i := range len(s) {
		if s[i] == '=' && !strings.HasPrefix(s[i:], "=2C") && !strings.HasPrefix(s[i:], "=3D") {
			return "", malformed("OAUTHBEARER: authorization identity")
		}
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s), nil
}

// parseXOAuth2 takes "user=name\x01auth=Bearer token\x01\x01".
func parseXOAuth2(response []byte) (user, token string, err error) {
	first, pairs, ok := bytes.Cut(response, []byte{1})
	user, isUser := strings.CutPrefix(string(first), "user=")
	if !ok || !isUser || user == "" || !utf8.Valid(response) {
		return "", "", malformed("XOAUTH2: no user")
	}
	token, err = bearer(pairs)
	return user, token, err
}

// bearer finds the token in "key=value\x01 ... \x01"; other keys are for servers that
// are of more than one name.
func bearer(pairs []byte) (token string, err error) {
	rest, ok := bytes.CutSuffix(pairs, []byte{1, 1})
	if !ok {
		return "", malformed("key/value pairs without an end")
	}
	for pair := range bytes.SplitSeq(rest, []byte{1}) {
		key, value, ok := strings.Cut(string(pair), "=")
		if !ok || hasControl([]byte(value)) {
			return "", malformed("key/value pair")
		}
		if key != "auth" {
			continue
		}
		scheme, t, ok := strings.Cut(value, " ")
		t = strings.TrimLeft(t, " ")
		if !ok || !strings.EqualFold(scheme, "bearer") || t == "" || token != "" {
			return "", malformed("auth is not one Bearer token")
		}
		token = t
	}
	if token == "" {
		return "", malformed("no token")
	}
	return token, nil
}

func oauthBearerChallenge(r *TokenRefusal) []byte {
	b, _ := json.Marshal(struct {
		Status string `json:"status"`
		Scope  string `json:"scope,omitempty"`
		Config string `json:"openid-configuration,omitempty"`
	}{r.status(), r.Scope, r.OpenIDConfiguration})
	return b
}

// xoauth2Challenge has the status of HTTP, as those who made it up do.
func xoauth2Challenge(r *TokenRefusal) []byte {
	status := "401"
	if r.status() == "insufficient_scope" {
		status = "403"
	}
	b, _ := json.Marshal(struct {
		Status  string `json:"status"`
		Schemes string `json:"schemes"`
		Scope   string `json:"scope,omitempty"`
	}{status, "bearer", r.Scope})
	return b
}
