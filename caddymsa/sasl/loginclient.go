package sasl

import "github.com/emersion/go-sasl"

// LoginClient is the client side of LOGIN. go-sasl's sends an initial response, which servers refuse that
// know none, and wants prompts of one spelling.
type LoginClient struct {
	user, password string
	step           int
}

// NewLoginClient returns a client that logs in as user with password.
func NewLoginClient(user, password string) *LoginClient {
	return &LoginClient{user: user, password: password}
}

// Start begins the exchange; the server speaks first.
func (c *LoginClient) Start() (mech string, ir []byte, err error) { return sasl.Login, nil, nil }

// Next answers the first prompt with the user name and the second with the password, whatever they say.
func (c *LoginClient) Next([]byte) ([]byte, error) {
	c.step++
	switch c.step {
	case 1:
		return []byte(c.user), nil
	case 2:
		return []byte(c.password), nil
	}
	return nil, sasl.ErrUnexpectedServerChallenge
}
