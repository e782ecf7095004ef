// Package authdovecot authenticates the users of a Dovecot, through its auth socket.
package authdovecot

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(Dovecot))
}

// Dovecot asks the auth process of a Dovecot (version 1 of its protocol, which Dovecot 2 speaks): whoever
// can log in there can log in here. PLAIN and LOGIN are served by asking it about the password;
// other mechanisms, if they are listed, are handed on to it whole. The user's name is the one
// that Dovecot gives. A Dovecot that does not answer is never a refusal.
//
// It delays all refusals alike, so that a wrong password and an unknown user look the same.
type Dovecot struct {
	// Address of a client socket of Dovecot's auth: the path of a unix socket, or host:port.
	// Required, as in /run/dovecot/auth-client. Placeholders are resolved once, when the
	// configuration is loaded.
	Address string `json:"address,omitempty"`

	// UserDB is the address of an auth-userdb socket, as Address is. With it, open sessions are looked up
	// before each message, and end when the user is gone or disabled; and a user that the userdb
	// does not know is refused. Default: none; sessions are bounded by auth's reauth.
	UserDB string `json:"userdb,omitempty"`

	// Mechanisms to hand on to Dovecot: DIGEST-MD5, SCRAM-SHA-256, OAUTHBEARER, XOAUTH2. It must offer
	// them in its auth_mechanisms. Default: none, only PLAIN and LOGIN are served.
	Mechanisms []string `json:"mechanisms,omitempty"`

	// Service that Dovecot is told, for its settings and its log. Default smtp.
	Service string `json:"service,omitempty"`

	// Timeout of an answer, connecting and Dovecot's own delay of refusals (2s) included. Default 10s.
	Timeout conf.Duration `json:"timeout,omitempty"`

	// AddressesField is the extra field that holds addresses which the user may send as, separated by
	// commas or spaces: of the userdb where there is one, else of the passdb. Default: none.
	AddressesField string `json:"addresses_field,omitempty"`

	// FingerprintField is the extra field whose change ends the user's open sessions. It only counts with
	// UserDB. Default: none.
	FingerprintField string `json:"fingerprint_field,omitempty"`

	// Attributes are extra fields that become attributes of the identity. Default: none.
	Attributes []string `json:"attributes,omitempty"`

	// Cache is how long a password that was right is not checked again. Default: always check.
	Cache conf.Duration `json:"cache,omitempty"`

	log     *zap.Logger
	clients *link
	master  *link // nil without UserDB
	cache   *remembered

	asked   atomic.Uint64
	reloads atomic.Uint64
	refusal atomic.Int64 // how long Dovecot took for the last one
}

// CaddyModule returns the Caddy module information.
func (*Dovecot) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.auth.dovecot", New: func() caddy.Module { return new(Dovecot) }}
}

// Provision begins to connect, but does not wait: a Dovecot that is down fails no load.
func (d *Dovecot) Provision(ctx caddy.Context) error {
	d.log = terminal.Logger(ctx.Logger())
	if err := d.check(); err != nil {
		return err
	}
	network, address, err := d.resolve(d.Address, "address")
	if err != nil {
		return err
	}
	if d.UserDB != "" {
		network, address, err := d.resolve(d.UserDB, "userdb")
		if err != nil {
			return err
		}
		d.master = newLink(network, address, masterProtocol, d.timeout(), func(*wire) {})
	}
	d.clients = newLink(network, address, clientProtocol, d.timeout(), d.opened)
	d.cache = newRemembered(time.Duration(d.Cache))
	d.refusal.Store(int64(usualDelay))
	for _, l := range []*link{d.clients, d.master} {
		if l != nil {
			l.hold()
			go func() {
				defer l.letGo()
				if _, err := l.connected(l.ctx); err != nil && l.ctx.Err() == nil {
					d.log.Warn("Dovecot does not answer; logins have to wait until it does", zap.Error(err))
				}
			}()
		}
	}
	return nil
}

// opened looks at what the Dovecot that was just connected to offers.
func (d *Dovecot) opened(w *wire) {
	for _, mechanism := range append([]string{plain}, d.Mechanisms...) {
		if !w.mechanisms[mechanism] {
			d.log.Error("Dovecot does not offer a mechanism that is needed; add it to Dovecot's auth_mechanisms", zap.String("mechanism", mechanism))
		}
	}
}

func (d *Dovecot) timeout() time.Duration { return time.Duration(d.Timeout) }

// Serves implements caddymsa.Selective.
func (d *Dovecot) Serves(c caddymsa.Capability) bool {
	switch c {
	case caddymsa.CapProxy:
		return len(d.Mechanisms) > 0
	case caddymsa.CapLookup:
		return d.master != nil
	}
	return true
}

// ProxiedMechanisms implements caddymsa.MechanismProxy.
func (d *Dovecot) ProxiedMechanisms() []string { return d.Mechanisms }

// ProxyExchange implements caddymsa.MechanismProxy.
func (d *Dovecot) ProxyExchange(peer caddymsa.Peer, mechanism string) caddymsa.ProxiedExchange {
	d.holdLinks()
	return &exchange{d: d, peer: peer, mechanism: mechanism}
}

// Revision implements caddymsa.Revisioner. Dovecot does not say when its users change, so it is
// another one each time: open sessions are looked up before every message.
func (d *Dovecot) Revision() uint64 { return d.asked.Add(1) }

// Reload implements caddymsa.Reloader: nothing is held but passwords that were right.
func (d *Dovecot) Reload(context.Context) error {
	d.reloads.Add(1)
	return nil
}

// Cleanup closes the connections, once no exchange is open any more.
func (d *Dovecot) Cleanup() error {
	d.letGoOfLinks()
	return nil
}

func (d *Dovecot) holdLinks() {
	d.clients.hold()
	if d.master != nil {
		d.master.hold()
	}
}

// letGoOfLinks does nothing after a Provision that failed before there were any.
func (d *Dovecot) letGoOfLinks() {
	for _, l := range []*link{d.clients, d.master} {
		if l != nil {
			l.letGo()
		}
	}
}

// Interface guards
var (
	_ caddy.Provisioner         = (*Dovecot)(nil)
	_ caddy.CleanerUpper        = (*Dovecot)(nil)
	_ caddyfile.Unmarshaler     = (*Dovecot)(nil)
	_ caddymsa.Selective        = (*Dovecot)(nil)
	_ caddymsa.PasswordVerifier = (*Dovecot)(nil)
	_ caddymsa.MechanismProxy   = (*Dovecot)(nil)
	_ caddymsa.Lookuper         = (*Dovecot)(nil)
	_ caddymsa.Revisioner       = (*Dovecot)(nil)
	_ caddymsa.Reloader         = (*Dovecot)(nil)
)
