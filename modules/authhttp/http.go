// Package authhttp authenticates users by asking a web service.
package authhttp

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

func init() {
	caddy.RegisterModule(new(HTTP))
}

// HTTP authenticates users by asking a web service, in JSON: docs/auth-http.md has the questions and
// answers. The service checks passwords itself, or hands out what it has stored of a user, which can
// serve DIGEST-MD5 and SCRAM too. Only its yes and its no count; any other answer, and none, is never a
// refusal: the client is told to try again.
type HTTP struct {
	webcall.Config

	// Credentials has the service hand out what it has stored of a user; passwords are checked here,
	// and never sent.
	Credentials bool `json:"credentials,omitempty"`

	// Case is how names compare: fold asks the service for the name in lower case, exact as the client gave
	// it. Default fold.
	Case names.Case `json:"case,omitempty"`

	// NoLookup says that the service does not know the action "lookup". Open sessions then last
	// for the time of "reauth" at most.
	NoLookup bool `json:"no_lookup,omitempty"`

	// Timeout of an answer, including the wait for a turn and making a connection. Default 5s.
	Timeout conf.Duration `json:"timeout,omitempty"`

	// Concurrency is how many questions are under way at a time. Default 64.
	Concurrency int `json:"concurrency,omitempty"`

	// Cache is how long a password that was right is not checked again, while the user is still
	// found and has the same fingerprint. Default: always check.
	Cache conf.Duration `json:"cache,omitempty"`

	// Decoy is what an unknown name is checked against until a first real user was seen, where
	// Credentials is set: schemes, or credentials with the parameters that are in use. Default
	// ARGON2ID and SCRAM-SHA-256.
	Decoy []string `json:"decoy,omitempty"`

	key    *options // of the service, if this holds one
	asks   *asker
	stored *tableauth.Remote // with Credentials
}

// CaddyModule returns the Caddy module information.
func (*HTTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.auth.http", New: func() caddy.Module { return new(HTTP) }}
}

// services are shared by all configurations that ask the same: a reload makes no new connections,
// and forgets nothing of what real users cost.
var services = caddy.NewUsagePool()

// Provision asks for a user once. A service that does not answer as it should is no reason not to
// start: what is in front of it may be up before it is.
func (h *HTTP) Provision(ctx caddy.Context) error {
	log := terminal.Logger(ctx.Logger())
	o, err := h.resolve(log)
	if err != nil {
		return err
	}
	secret, err := caddymsa.DecoySecret(ctx)
	if err != nil {
		return err
	}
	pooled, _, err := services.LoadOrNew(o, func() (caddy.Destructor, error) { return newService(o, &h.Config) })
	if err != nil {
		return err
	}
	h.key = &o
	cache := authcache.New(time.Duration(h.Cache), nil)
	h.asks = &asker{service: pooled.(*service), cache: cache, fold: h.Case}
	if h.Credentials {
		h.stored = tableauth.NewRemote(h.asks.fetch, h.asks.seen, secret, cache)
		h.stored.Case = h.Case
	}
	if h.asks.client.Exposed() {
		log.Warn("passwords go to the web service in clear text; use https and leave insecure_plaintext out")
	}
	if err := h.try(ctx); err != nil {
		log.Warn("the web service does not answer as it should; logins have to wait until it does", zap.Error(err))
	}
	return nil
}

// try asks for somebody whom the service does not know.
func (h *HTTP) try(ctx context.Context) (err error) {
	switch {
	case h.Credentials:
		_, err = h.asks.fetch(ctx, "nobody@invalid")
	case !h.NoLookup:
		_, err = h.asks.lookup(ctx, caddymsa.Peer{}, "nobody@invalid")
	}
	if isRefusal(err) {
		err = nil
	}
	return err
}

// Serves implements caddymsa.Selective.
func (h *HTTP) Serves(c caddymsa.Capability) bool {
	switch c {
	case caddymsa.CapDigest, caddymsa.CapSCRAM:
		return h.Credentials
	case caddymsa.CapLookup:
		return h.Credentials || !h.NoLookup
	}
	return true
}

// VerifyPassword implements caddymsa.PasswordVerifier.
func (h *HTTP) VerifyPassword(ctx context.Context, peer caddymsa.Peer, user, password string) (caddymsa.Identity, error) {
	if h.stored != nil {
		return h.stored.VerifyPassword(withPeer(ctx, peer), peer, user, password)
	}
	return h.asks.verify(ctx, peer, user, password)
}

// DigestCredentials implements caddymsa.DigestStore, with Credentials.
func (h *HTTP) DigestCredentials(ctx context.Context, peer caddymsa.Peer, user, realm string) ([]caddymsa.DigestCredential, error) {
	return h.stored.DigestCredentials(withPeer(ctx, peer), peer, user, realm)
}

// SCRAMCredential implements caddymsa.SCRAMStore, with Credentials.
func (h *HTTP) SCRAMCredential(ctx context.Context, peer caddymsa.Peer, user string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	return h.stored.SCRAMCredential(withPeer(ctx, peer), peer, user)
}

// Lookup implements caddymsa.Lookuper, unless NoLookup.
func (h *HTTP) Lookup(ctx context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	if h.stored != nil {
		return h.stored.Lookup(withPeer(ctx, peer), peer, user)
	}
	return h.asks.lookup(ctx, peer, user)
}

// Revision implements caddymsa.Revisioner. The service does not say when its users change, so it is
// another one each time: open sessions are looked up before every message.
func (h *HTTP) Revision() uint64 { return h.asks.asked.Add(1) }

// Reload implements caddymsa.Reloader: nothing is held but passwords that were right.
func (h *HTTP) Reload(context.Context) error {
	h.asks.reloads.Add(1)
	return nil
}

// Cleanup gives the connections back, which the next configuration may use already.
func (h *HTTP) Cleanup() error {
	if h.key == nil {
		return nil
	}
	_, err := services.Delete(*h.key)
	h.key = nil
	return err
}

// Interface guards
var (
	_ caddy.Provisioner         = (*HTTP)(nil)
	_ caddy.CleanerUpper        = (*HTTP)(nil)
	_ caddyfile.Unmarshaler     = (*HTTP)(nil)
	_ caddymsa.Selective        = (*HTTP)(nil)
	_ caddymsa.PasswordVerifier = (*HTTP)(nil)
	_ caddymsa.DigestStore      = (*HTTP)(nil)
	_ caddymsa.SCRAMStore       = (*HTTP)(nil)
	_ caddymsa.Lookuper         = (*HTTP)(nil)
	_ caddymsa.Revisioner       = (*HTTP)(nil)
	_ caddymsa.Reloader         = (*HTTP)(nil)
)
