package sinkrelay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	gosasl "github.com/emersion/go-sasl"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Auth is the account at the next hop.
type Auth struct {
	// Username to log in with. {env.*} and {file.*} are resolved once, when the
	// config is loaded.
	Username string `json:"username,omitempty"`
	// Password of the account, best as {env.NAME} or {file./path}: a literal one
	// is shown by the admin API, and draws a warning.
	Password conf.Secret `json:"password,omitempty"`
	// OAuth gets tokens, in the place of a password.
	OAuth *OAuth `json:"oauth,omitempty"`
	// Mechanism is SCRAM-SHA-256, PLAIN, LOGIN or DIGEST-MD5. Default: the first of these that the next
	// hop offers, and the next one if it refuses that; a password that was not asked for goes only over
	// TLS with a verified certificate. With OAuth: XOAUTH2, the default, or OAUTHBEARER.
	Mechanism string `json:"mechanism,omitempty"`
}

// Format prints all but the password, whatever the verb.
func (a Auth) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{%q %s %q}", a.Username, a.Password, a.Mechanism)
}

// MarshalLogObject logs all but the password.
func (a *Auth) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("username", a.Username)
	enc.AddString("password", a.Password.String())
	enc.AddString("mechanism", a.Mechanism)
	return nil
}

// mechanisms in the order of preference.
var mechanisms = []string{sasl.SCRAMSHA256, gosasl.Plain, gosasl.Login, sasl.DigestMD5}

// account is a resolved Auth. The password is out of the reach of reflection, and
// so of every printing verb.
type account struct {
	user      string
	password  conf.Resolved
	tokens    *tokens // in the place of a password
	mechanism string  // "" to choose
}

func (a *Auth) resolve(repl *caddy.Replacer, log *zap.Logger) (acc *account, err error) {
	if a.Username == "" || (a.Password == "") == (a.OAuth == nil) {
		return nil, errors.New("auth: a username and either a password or oauth are required")
	}
	acc = &account{mechanism: strings.ToUpper(a.Mechanism)}
	known := mechanisms
	if a.OAuth != nil {
		known = []string{sasl.XOAuth2, gosasl.OAuthBearer}
		if acc.mechanism == "" {
			acc.mechanism = sasl.XOAuth2
		}
	}
	if acc.mechanism != "" && !slices.Contains(known, acc.mechanism) {
		return nil, fmt.Errorf("auth: unknown mechanism %s; there are %s", a.Mechanism, strings.Join(known, ", "))
	}
	if acc.user, err = conf.Expand(a.Username); err != nil {
		return nil, fmt.Errorf("auth: username: %w", err)
	}
	if a.OAuth != nil {
		if acc.tokens, err = a.OAuth.resolve(log); err != nil {
			return nil, fmt.Errorf("auth: oauth: %w", err)
		}
		return acc, nil
	}
	if acc.password, err = a.Password.Resolve("auth: password", log); err != nil {
		return nil, err
	}
	return acc, nil
}

// login is the account as the client of the next hop has it.
func (a *account) login() *nexthop.Login {
	l := &nexthop.Login{Mechanisms: mechanisms, Client: a.client}
	if a.mechanism != "" {
		l.Mechanisms = []string{a.mechanism}
	}
	if a.tokens != nil {
		l.Refused = a.tokens.drop
	}
	return l
}

func (a *account) client(ctx context.Context, mechanism, host string) (gosasl.Client, error) {
	if a.tokens != nil {
		token, err := a.tokens.get(ctx)
		if err != nil {
			return nil, err
		}
		if mechanism == sasl.XOAuth2 {
			return sasl.NewXOAuth2Client(a.user, token), nil
		}
		return sasl.NewOAuthBearerClient(a.user, token), nil
	}
	switch mechanism {
	case sasl.SCRAMSHA256:
		return sasl.NewSCRAMClient(a.user, a.password.Value())
	case sasl.DigestMD5:
		return sasl.NewDigestMD5Client(a.user, a.password.Value(), "", host), nil
	case gosasl.Login:
		return sasl.NewLoginClient(a.user, a.password.Value()), nil
	default:
		return gosasl.NewPlainClient("", a.user, a.password.Value()), nil
	}
}
