// Package authoauth authenticates clients by bearer tokens of an OAuth 2.0 authorization server.
package authoauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(OAuth))
}

// OAuth takes bearer tokens by OAUTHBEARER (RFC 7628) and XOAUTH2. A token is either a JWT
// of the issuer (RFC 9068), verified here with the keys that the issuer publishes (OpenID Connect
// Discovery), or, with introspection, anything that the authorization server says is
// active (RFC 7662), so that revoked tokens do not count.
//
// While the issuer cannot be reached and its keys are not known, clients hear 454 4.7.0.
type OAuth struct {
	// Issuer is the authorization server's identifier, an https URL: tokens must have it as
	// their iss. Required, except with an introspection URL.
	Issuer string `json:"issuer,omitempty"`
	// Audience that tokens must be for: this server, as the authorization server knows it.
	// Required, so that tokens for other services do not count here.
	Audience string `json:"audience,omitempty"`
	// Scopes that a token must have, all of them. Default: none.
	Scopes []string `json:"scopes,omitempty"`
	// UserClaim is the claim that holds the user's name. Default: email, which must not be
	// marked as unverified.
	UserClaim string `json:"user_claim,omitempty"`
	// AddressesClaim is a claim with addresses that the user may send as, beside a name that is one: a
	// string or a list of strings, each an address, @domain or *@domain. Default: none.
	AddressesClaim string `json:"addresses_claim,omitempty"`
	// AttributeClaims are claims to keep for policies and matchers, under their own
	// names. Default: none.
	AttributeClaims []string `json:"attribute_claims,omitempty"`

	// Introspection asks the authorization server about every token. Default: tokens are verified here.
	Introspection *Introspection `json:"introspection,omitempty"`

	// Whom to trust as the authorization server, and what to show it.
	conf.TLSClient
	// Timeout for a question to the authorization server. Default 5s.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// Case is how the user's own addresses compare: fold, without regard to case, or exact. Default fold.
	Case names.Case `json:"case,omitempty"`

	log    *zap.Logger
	now    func() time.Time
	client *http.Client
	// discovery is the issuer's.
	discovery *discovery
	verify    func(ctx context.Context, token string) (claims, error)
	cancel    context.CancelFunc
}

// errRefused is for tokens that are not good, whatever the reason.
var errRefused = errors.New("token refused")

// CaddyModule returns the Caddy module information.
func (*OAuth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.auth.oauth", New: func() caddy.Module { return new(OAuth) }}
}

// Provision does not wait for the issuer: mail does not stop because it is down while
// a configuration is loaded.
func (o *OAuth) Provision(ctx caddy.Context) (err error) {
	o.log = terminal.Logger(ctx.Logger())
	if o.now == nil {
		o.now = time.Now
	}
	if err := o.resolve(); err != nil {
		return fmt.Errorf("oauth: %w", err)
	}
	config, err := o.TLSClient.Config()
	if err != nil {
		return fmt.Errorf("oauth: %w", err)
	}
	o.client = newClient(config)
	d := newDiscovery(o.Issuer, o.client, time.Duration(o.Timeout), o.now)
	o.discovery = d
	if o.Introspection != nil {
		o.verify = (&introspector{config: o.Introspection, oauth: o, discovery: d}).verify
	} else {
		o.verify = newVerifier(o, d).verify
	}
	if o.Issuer == "" {
		return nil
	}
	var background context.Context
	background, o.cancel = context.WithCancel(context.Background())
	go o.reach(background, d)
	return nil
}

// reach tells the operator early of an issuer that cannot be reached.
func (o *OAuth) reach(ctx context.Context, d *discovery) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.Timeout))
	defer cancel()
	if _, err := d.get(ctx); err != nil && !errors.Is(err, context.Canceled) {
		o.log.Warn("issuer cannot be reached; clients with tokens hear 454 until it can", zap.String("issuer", o.Issuer), zap.Error(err))
	}
}

// Cleanup gives the connections back.
func (o *OAuth) Cleanup() error {
	if o.cancel != nil {
		o.cancel()
	}
	if o.client != nil {
		o.client.CloseIdleConnections()
	}
	return nil
}

// VerifyToken implements caddymsa.TokenVerifier.
func (o *OAuth) VerifyToken(ctx context.Context, _ caddymsa.Peer, user, token string) (caddymsa.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.Timeout))
	defer cancel()
	c, err := o.verify(ctx, token)
	if errors.Is(err, errRefused) {
		return caddymsa.Identity{}, o.refusal("invalid_token", err)
	}
	if err != nil {
		return caddymsa.Identity{}, err
	}
	for _, scope := range o.Scopes {
		if !c.hasScope(scope) {
			return caddymsa.Identity{}, o.refusal("insufficient_scope", fmt.Errorf("the token does not have the scope %s", scope))
		}
	}
	id, err := o.identity(c)
	if err != nil {
		return caddymsa.Identity{}, o.refusal("invalid_token", err)
	}
	if user != "" && !names.Same(user, id.User) {
		return caddymsa.Identity{}, o.refusal("invalid_token", fmt.Errorf("the token is %s's, and the client asked to be %s", id.User, user))
	}
	return id, nil
}

// refusal tells the client what a token needs (RFC 7628 section 3.2.2).
func (o *OAuth) refusal(status string, cause error) error {
	r := &sasl.TokenRefusal{Status: status, Scope: strings.Join(o.Scopes, " "), Err: cause}
	if o.Issuer != "" {
		r.OpenIDConfiguration = strings.TrimSuffix(o.Issuer, "/") + wellKnown
	}
	return r
}

// Interface guards
var (
	_ caddy.Provisioner      = (*OAuth)(nil)
	_ caddy.CleanerUpper     = (*OAuth)(nil)
	_ caddymsa.TokenVerifier = (*OAuth)(nil)
)
