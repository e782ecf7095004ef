// Package authclientcert authenticates clients by the certificate of their TLS handshake.
package authclientcert

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

func init() {
	caddy.RegisterModule(new(ClientCert))
}

// ClientCert authenticates clients by SASL EXTERNAL (RFC 4422 appendix A): the handshake has
// verified their certificate, as the server's TLS connection policies say, and the certificate says who
// they are. A client without a certificate is offered the other mechanisms.
//
// Without a map, the certificate's first name of the kinds in Identity is the user, and its
// e-mail addresses are what the user may send as.
type ClientCert struct {
	// Identity is which names of the certificate count, in order: "email", "dns" and "uri" are
	// its subject alternative names, "cn" and "serial_number" attributes of its subject, "subject" is
	// the whole subject as RFC 2253 writes it, "sha256" is the certificate's fingerprint in lower-case
	// hexadecimal digits. Default: email; with a map, all.
	Identity []string `json:"identity,omitempty"`

	// Map is a file that says who is who. With it, a certificate that is not in the file is
	// refused. It is read again when it changes. A line has a name of the certificate,
	// the user, and what the user may send as:
	//
	//	cn:scanner-7          scanner       scanner@example.org @devices.example.org
	//	"subject:CN=J. Doe,C=NL" j.doe@example.org
	//
	// Placeholders are resolved once, when the configuration is loaded. Default: no map.
	Map string `json:"map,omitempty"`

	// Case is how names compare: fold, without regard to case, or exact. Default fold.
	Case names.Case `json:"case,omitempty"`

	path  string
	log   *zap.Logger
	file  *watch.File[*table]   // nil: no map
	table atomic.Pointer[table] // what it says
	swaps atomic.Uint64
}

// CaddyModule returns the Caddy module information.
func (*ClientCert) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.auth.client_cert", New: func() caddy.Module { return new(ClientCert) }}
}

// Provision reads the map, so that a broken one fails the load, and begins to watch it.
func (c *ClientCert) Provision(ctx caddy.Context) (err error) {
	c.log = terminal.Logger(ctx.Logger())
	for _, kind := range c.Identity {
		if !slices.Contains(kinds, kind) {
			return fmt.Errorf("client_cert: identity: %q is not known; use some of %s", kind, conf.And(kinds))
		}
	}
	if len(c.Identity) == 0 {
		c.Identity = []string{"email"}
		if c.Map != "" {
			c.Identity = kinds
		}
	}
	if c.path, err = conf.Expand(c.Map); err != nil {
		return fmt.Errorf("client_cert: map: %w", err)
	}
	if c.path == "" {
		return nil
	}
	if c.file, err = files[c.Case].Open(c.path, c.log, c.changed); err != nil {
		return fmt.Errorf("client_cert: map: %w", err)
	}
	c.file.Use(c.use)
	return nil
}

func (c *ClientCert) use(t *table) {
	c.table.Store(t)
	c.swaps.Add(1)
}

// Reload implements caddymsa.Reloader.
func (c *ClientCert) Reload(context.Context) error {
	if c.file == nil {
		return nil
	}
	if err := c.file.Reload(); err != nil {
		return fmt.Errorf("client_cert: map: %w", err)
	}
	return nil
}

func (c *ClientCert) changed(t *table, err error) {
	if err != nil {
		c.log.Error("map of client certificates changed but cannot be used; the old one stays", zap.Error(err))
		return
	}
	c.use(t)
	c.log.Info("map of client certificates was read again", zap.String("path", c.path))
}

// Cleanup ends the watch.
func (c *ClientCert) Cleanup() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// Serves implements caddymsa.Selective: only a map can be asked about a user.
func (c *ClientCert) Serves(capability caddymsa.Capability) bool {
	return capability != caddymsa.CapLookup || c.path != ""
}

// Revision implements caddymsa.Revisioner.
func (c *ClientCert) Revision() uint64 { return c.swaps.Load() }

// MapCertificate implements caddymsa.CertificateMapper.
func (c *ClientCert) MapCertificate(_ context.Context, _ caddymsa.Peer, state *tls.ConnectionState) (caddymsa.Identity, error) {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return caddymsa.Identity{}, fmt.Errorf("%w: the client's certificate was not verified", caddymsa.ErrCredentials)
	}
	cert := state.VerifiedChains[0][0]
	t := c.table.Load()
	for _, kind := range c.Identity {
		for _, name := range namesOf(cert, kind) {
			switch {
			case t == nil:
				return caddymsa.Identity{User: name, Addresses: patterns(cert.EmailAddresses), Case: c.Case}, nil
			case t.users[key(c.Case, kind, name)] != "":
				return t.identity(t.users[key(c.Case, kind, name)]), nil
			}
		}
	}
	return caddymsa.Identity{}, fmt.Errorf("%w: the certificate %q has no name that counts", caddymsa.ErrUnknownUser, cert.Subject)
}

// patterns leaves out what is not an address. A CA that signs one for *@example.org
// does not speak for the domain.
func patterns(addresses []string) (all []mailaddr.Pattern) {
	for _, a := range addresses {
		if p, err := mailaddr.MailboxPattern(a); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// Lookup implements caddymsa.Lookuper, where there is a map.
func (c *ClientCert) Lookup(_ context.Context, _ caddymsa.Peer, user string) (caddymsa.Identity, error) {
	t := c.table.Load()
	if t == nil || t.known[t.fold.Key(user)] == nil {
		return caddymsa.Identity{}, caddymsa.ErrUnknownUser
	}
	return t.identity(user), nil
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	client_cert {
//		identity email|dns|uri|cn|serial_number|subject|sha256 ...
//		map      <file>
//		case     fold|exact
//	}
func (c *ClientCert) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	return conf.Block(d,
		conf.List("identity", &c.Identity),
		conf.Text("map", &c.Map),
		conf.Value("case", &c.Case),
	)
}

// Interface guards
var (
	_ caddy.Provisioner          = (*ClientCert)(nil)
	_ caddy.CleanerUpper         = (*ClientCert)(nil)
	_ caddyfile.Unmarshaler      = (*ClientCert)(nil)
	_ caddymsa.CertificateMapper = (*ClientCert)(nil)
	_ caddymsa.Lookuper          = (*ClientCert)(nil)
	_ caddymsa.Revisioner        = (*ClientCert)(nil)
	_ caddymsa.Reloader          = (*ClientCert)(nil)
	_ caddymsa.Selective         = (*ClientCert)(nil)
)
