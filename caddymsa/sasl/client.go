package sasl

import (
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-sasl"
)

// errServer: rspauth is missing or wrong.
var errServer = errors.New("the server did not prove that it knows the password")

// DigestMD5Client is the client side of one DIGEST-MD5 exchange.
type DigestMD5Client struct {
	user, password, realm, host string

	step   int
	cnonce func() (string, error)
	want   string // the rspauth to come
	proved bool
}

// NewDigestMD5Client returns a client that logs in as user with password at
// the server called host. An empty realm stands for the first that the server
// offers.
func NewDigestMD5Client(user, password, realm, host string) *DigestMD5Client {
	return &DigestMD5Client{
		user: user, password: password, realm: realm, host: host,
		cnonce: func() (string, error) { return newNonce(nil) },
	}
}

// Start begins the exchange; the server speaks first.
func (c *DigestMD5Client) Start() (mech string, ir []byte, err error) {
	return DigestMD5, nil, nil
}

// Next answers the challenge, then checks rspauth.
func (c *DigestMD5Client) Next(challenge []byte) ([]byte, error) {
	c.step++
	switch c.step {
	case 1:
		return c.respond(string(challenge))
	case 2:
		if !equalConstantTime(string(challenge), "rspauth="+c.want) {
			return nil, errServer
		}
		c.proved = true
		return []byte{}, nil
	}
	return nil, sasl.ErrUnexpectedServerChallenge
}

// ServerProved reports whether the server has shown that it knows the
// password. Ask after success: a server that skips rspauth is not to be
// trusted (RFC 2831 section 2.1.3).
func (c *DigestMD5Client) ServerProved() bool { return c.proved }

// respond makes the digest-response (RFC 2831 section 2.1.2).
func (c *DigestMD5Client) respond(challenge string) ([]byte, error) {
	ch, err := parseDigestChallenge(challenge)
	if err != nil {
		return nil, err
	}
	realm := c.realm
	if realm == "" {
		realm = ch.realm
	}
	cnonce, err := c.cnonce()
	if err != nil {
		return nil, err
	}
	in := digestInput{nonce: ch.nonce, cnonce: cnonce, uri: "smtp/" + c.host}
	hash := DigestHA1(c.user, realm, c.password)
	user, charset := c.user, ",charset=utf-8"
	if !ch.utf8 {
		var fits [3]bool
		user, fits[0] = toLatin1(user)
		realm, fits[1] = toLatin1(realm)
		_, fits[2] = toLatin1(c.password)
		if fits != [3]bool{true, true, true} {
			return nil, errors.New("DIGEST-MD5: the server takes ISO 8859-1 only")
		}
		charset = ""
	}
	c.want = in.rspauth(hash)
	var b strings.Builder
	b.WriteString("username=" + quote(user))
	if realm != "" {
		b.WriteString(",realm=" + quote(realm))
	}
	fmt.Fprintf(&b, ",nonce=%s,cnonce=%s,nc=00000001,qop=auth,digest-uri=%s,response=%s%s",
		quote(in.nonce), quote(in.cnonce), quote(in.uri), in.response(hash), charset)
	return []byte(b.String()), nil
}

// digestChallenge is what a client needs of RFC 2831 section 2.1.1.
type digestChallenge struct {
	realm string // the first
	nonce string
	utf8  bool
}

func parseDigestChallenge(s string) (ch digestChallenge, err error) {
	qop, algorithm := "auth", ""
	realms := 0
	err = parseDirectives(s, func(name, value string) error {
		switch name {
		case "realm":
			if realms++; realms == 1 {
				ch.realm = value
			}
		case "nonce":
			if ch.nonce != "" {
				return errors.New("two nonces")
			}
			ch.nonce = value
		case "qop":
			qop = value
		case "algorithm":
			algorithm = value
		case "charset":
			ch.utf8 = strings.EqualFold(value, "utf-8")
		}
		return nil
	})
	if err != nil {
		return ch, fmt.Errorf("DIGEST-MD5 challenge: %w", err)
	}
	if ch.nonce == "" || !strings.EqualFold(algorithm, "md5-sess") {
		return ch, errors.New("DIGEST-MD5 challenge: want a nonce and algorithm=md5-sess")
	}
	for offered := range strings.SplitSeq(qop, ",") {
		if strings.EqualFold(strings.Trim(offered, lws), "auth") {
			return ch, nil
		}
	}
	return ch, errors.New("DIGEST-MD5 challenge: qop=auth is not offered")
}

// Interface guards
var (
	_ sasl.Client = (*DigestMD5Client)(nil)
	_ sasl.Client = (*SCRAMClient)(nil)
)

// NewXOAuth2Client returns the client side of XOAUTH2, which go-sasl does not have.
func NewXOAuth2Client(user, token string) sasl.Client {
	return &xoauth2Client{user, token}
}

type xoauth2Client struct{ user, token string }

// Start implements sasl.Client.
func (c *xoauth2Client) Start() (mech string, ir []byte, err error) {
	return XOAuth2, []byte("user=" + c.user + "\x01auth=Bearer " + c.token + "\x01\x01"), nil
}

// Next answers the server's error, after which the exchange fails.
func (c *xoauth2Client) Next([]byte) ([]byte, error) { return []byte{}, nil }

// NewOAuthBearerClient returns the client side of OAUTHBEARER (RFC 7628). go-sasl's ends at the
// server's error without the answer that the server's refusal waits for.
func NewOAuthBearerClient(user, token string) sasl.Client {
	return oauthBearerClient{sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: user, Token: token})}
}

type oauthBearerClient struct{ sasl.Client }

// Next answers the server's error, after which the exchange fails.
func (oauthBearerClient) Next([]byte) ([]byte, error) { return []byte{1}, nil }
