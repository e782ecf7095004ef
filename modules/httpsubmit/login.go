package httpsubmit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Replies before a client has logged in, as SMTP has them.
var (
	errUnauthenticated = &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	errMechanism       = &smtp.SMTPError{Code: 504, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: "Mechanism is not offered"}
	errNoMechanism     = &smtp.SMTPError{Code: 504, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: "The server has no mechanism that HTTP can carry: PLAIN for Basic, OAUTHBEARER for Bearer"}
	errCredentialsForm = &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 5, 2}, Message: "Malformed authentication response"}
)

// schemes are those of HTTP that carry what a SASL mechanism does.
var schemes = []struct{ scheme, mechanism, parameters string }{
	{"Basic", sasl.Plain, `, charset="UTF-8"`}, // RFC 7617 section 2.1
	{"Bearer", sasl.OAuthBearer, ""},
}

// loginError is a refusal of somebody who has not logged in.
type loginError struct {
	error
	challenges []string
	throttled  bool
}

func (e *loginError) Unwrap() error { return e.error }

// login logs the client in with what it has sent.
func login(ctx context.Context, v running.Visitor, w http.ResponseWriter, r *http.Request, realm string) (running.Submitter, error) {
	offered := v.Mechanisms()
	var challenges []string
	for _, s := range schemes {
		if slices.Contains(offered, s.mechanism) {
			challenges = append(challenges, s.scheme+" realm="+strconv.Quote(realm)+s.parameters)
		}
	}
	if len(challenges) == 0 {
		return nil, errNoMechanism
	}
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return nil, &loginError{error: errUnauthenticated, challenges: challenges}
	}
	malformed := &loginError{error: errCredentialsForm, challenges: challenges}
	if len(headers) > 1 {
		return nil, malformed
	}
	scheme, value, _ := strings.Cut(headers[0], " ")
	for _, s := range schemes {
		if !strings.EqualFold(scheme, s.scheme) || !slices.Contains(offered, s.mechanism) {
			continue
		}
		response, ok := responseOf(s.mechanism, strings.TrimSpace(value))
		if !ok {
			return nil, malformed
		}
		submitter, said, err := v.Login(ctx, s.mechanism, response)
		if err != nil {
			return nil, refusedLogin(err, said, challenges)
		}
		return submitter, nil
	}
	return nil, &loginError{error: errMechanism, challenges: challenges}
}

// responseOf is what a client of the mechanism says for these credentials.
func responseOf(mechanism, value string) ([]byte, bool) {
	if mechanism == sasl.Plain {
		text, err := base64.StdEncoding.DecodeString(value)
		user, password, ok := strings.Cut(string(text), ":")
		return []byte("\x00" + user + "\x00" + password), err == nil && ok && !strings.Contains(user, "\x00")
	}
	return []byte("n,,\x01auth=Bearer " + value + "\x01\x01"), value != "" && !strings.ContainsAny(value, "\x01 ")
}

// refusedLogin has the answer say what the mechanism says of a token (RFC 6750 section 3).
func refusedLogin(err error, said []byte, challenges []string) error {
	reply, ok := errors.AsType[*smtp.SMTPError](err)
	if !ok {
		return err
	}
	refused := &loginError{error: err, throttled: reply.Code == 421}
	if reply.Code != 535 && reply.Code != 501 {
		return refused
	}
	var token struct{ Status, Scope string }
	if json.Unmarshal(said, &token) == nil && token.Status != "" {
		for i, c := range challenges {
			if strings.HasPrefix(c, "Bearer ") {
				c += ", error=" + quoted(token.Status)
				if token.Scope != "" {
					c += ", scope=" + quoted(token.Scope)
				}
				challenges[i] = c
			}
		}
	}
	refused.challenges = challenges
	return refused
}

// quoted writes a quoted-string of printable ASCII.
func quoted(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
	return `"` + s + `"`
}
