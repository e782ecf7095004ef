// Package authapppassword lets users of other backends in with application passwords.
package authapppassword

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

func init() {
	caddy.RegisterModule(new(AppPasswords))
}

// AppPasswords lets users of other backends in with application passwords, which it holds in a users file or a
// table of a database. Who they are, and whether they still stand, the other backends say at each login and before
// each message: one that does not answer is never a reason to let anybody in.
type AppPasswords struct {
	// StoreRaw is the backend that holds the application passwords: file, or sql with "app_passwords". Required. Passwords
	// in it that are users' own do not count.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=msa.auth inline_key=module"`

	// Backends are the ids of those whose users these are, in the order in which they are asked. Default: all others of
	// the server that check passwords, can look users up and keep no application passwords themselves.
	Backends []string `json:"backends,omitempty"`

	// Unchecked says that nobody can be asked about the users, as with OAuth: they are as the store has them.
	Unchecked bool `json:"unchecked,omitempty"`

	store       store
	directories []directory
	// handedOn are mechanisms that another backend has decided elsewhere, which leaves none of them for this one.
	handedOn map[string]bool
	// scramElsewhere says that a user's own password may serve SCRAM by the bare name.
	scramElsewhere bool
}

// store is what has to be known of a backend that holds application passwords.
type store interface {
	caddymsa.PasswordVerifier
	caddymsa.DigestStore
	caddymsa.SCRAMStore
	caddymsa.Lookuper
	caddymsa.Revisioner
	passwd.Keeper
}

// CaddyModule returns the Caddy module information.
func (*AppPasswords) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.auth.app_passwords", New: func() caddy.Module { return new(AppPasswords) }}
}

var errNoStore = errors.New("a file or a database that holds them is required, as in file /var/lib/caddy/app-passwords")

// Provision loads the store.
func (a *AppPasswords) Provision(ctx caddy.Context) error {
	if len(a.StoreRaw) == 0 {
		return errNoStore
	}
	if a.Unchecked && len(a.Backends) > 0 {
		return errors.New("backends and unchecked exclude each other: either other backends are asked about the users, or nobody is")
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return err
	}
	s, ok := mod.(store)
	if !ok {
		return fmt.Errorf("%s cannot hold application passwords; file and sql can", mod.(caddy.Module).CaddyModule().ID.Name())
	}
	if h, ok := mod.(interface{ HoldsAppPasswords() bool }); ok && !h.HoldsAppPasswords() {
		return errors.New("sql: the setting app_passwords is required here: app_passwords only, for a table of them alone")
	}
	a.store = s
	return nil
}

// Serves implements caddymsa.Selective.
func (a *AppPasswords) Serves(c caddymsa.Capability) bool {
	switch c {
	case caddymsa.CapDigest:
		return !a.handedOn[sasl.DigestMD5]
	case caddymsa.CapSCRAM:
		return !a.handedOn[sasl.SCRAMSHA256]
	}
	return true
}

// VerifyPassword implements caddymsa.PasswordVerifier.
func (a *AppPasswords) VerifyPassword(ctx context.Context, peer caddymsa.Peer, user, password string) (caddymsa.Identity, error) {
	id, err := a.store.VerifyPassword(ctx, peer, user, password)
	switch {
	case err != nil:
		return caddymsa.Identity{}, err
	case id.AppPassword == "":
		return caddymsa.Identity{}, caddymsa.ErrNoCredential
	}
	return a.confirm(ctx, peer, id)
}

// DigestCredentials implements caddymsa.DigestStore. The directories are asked whether there are application passwords or
// not: it would show in the time.
func (a *AppPasswords) DigestCredentials(ctx context.Context, peer caddymsa.Peer, user, realm string) ([]caddymsa.DigestCredential, error) {
	stored, why := a.store.DigestCredentials(ctx, peer, user, realm)
	if why != nil && !errors.Is(why, caddymsa.ErrCredentials) {
		return nil, why
	}
	stored = slices.DeleteFunc(stored, func(c caddymsa.DigestCredential) bool { return c.Identity.AppPassword == "" })
	if len(stored) == 0 {
		if _, err := a.confirm(ctx, peer, caddymsa.Identity{User: user}); err != nil && !errors.Is(err, caddymsa.ErrCredentials) {
			return nil, err
		}
		return nil, cmp.Or(why, caddymsa.ErrNoCredential)
	}
	type word struct {
		who     caddymsa.Identity
		refused error
	}
	heard := make(map[string]word) // one question about a user, however many application passwords there are
	for i, c := range stored {
		w, known := heard[c.Identity.User]
		if !known {
			w.who, w.refused = a.confirm(ctx, peer, c.Identity)
			heard[c.Identity.User] = w
		}
		if w.refused != nil && !errors.Is(w.refused, caddymsa.ErrCredentials) {
			return nil, w.refused
		}
		w.who.AppPassword, w.who.Fingerprint = c.Identity.AppPassword, c.Identity.Fingerprint
		stored[i].Identity, stored[i].Refused = w.who, cmp.Or(c.Refused, w.refused)
	}
	return stored, nil
}

// SCRAMCredential implements caddymsa.SCRAMStore. The bare name is left to other backends, where one may have a key for the
// user's own password: SCRAM has one key for a name.
func (a *AppPasswords) SCRAMCredential(ctx context.Context, peer caddymsa.Peer, user string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	key, id, err := a.store.SCRAMCredential(ctx, peer, user)
	if err != nil && !errors.Is(err, caddymsa.ErrCredentials) {
		return key, caddymsa.Identity{}, err
	}
	base, _, labelled := passwd.SplitLabel(user)
	switch {
	case err != nil:
		id = caddymsa.Identity{User: base}
	case id.AppPassword == "" || a.scramElsewhere && !labelled:
		err = caddymsa.ErrNoCredential
	}
	confirmed, refused := a.confirm(ctx, peer, id) // in any case, for the time it takes
	switch {
	case refused != nil && !errors.Is(refused, caddymsa.ErrCredentials):
		return key, caddymsa.Identity{}, refused
	case err != nil:
		return key, caddymsa.Identity{}, err
	}
	return key, confirmed, refused
}

// Lookup implements caddymsa.Lookuper, for users who have logged in with an application password. Others are the
// directories' to answer for.
func (a *AppPasswords) Lookup(ctx context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	id, err := a.store.Lookup(ctx, peer, user)
	switch {
	case err != nil:
		return caddymsa.Identity{}, err
	case id.AppPassword == "" && !a.Unchecked:
		return caddymsa.Identity{}, caddymsa.ErrUnknownUser
	}
	return a.confirm(ctx, peer, id)
}

// Revision implements caddymsa.Revisioner.
func (a *AppPasswords) Revision() uint64 {
	n := a.store.Revision()
	for _, d := range a.directories {
		if r, ok := d.Lookuper.(caddymsa.Revisioner); ok {
			n += r.Revision()
		}
	}
	return n
}

// Reload implements caddymsa.Reloader.
func (a *AppPasswords) Reload(ctx context.Context) error {
	if r, ok := a.store.(caddymsa.Reloader); ok {
		return r.Reload(ctx)
	}
	return nil
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	app_passwords {
//		file <path> { ... } | sql <driver> <dsn> { app_passwords [only] ; ... }
//		backends <id...>
//		unchecked
//	}
func (a *AppPasswords) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	err := conf.Block(d,
		conf.Func("file", a.readStore),
		conf.Func("sql", a.readStore),
		conf.List("backends", &a.Backends),
		conf.Flag("unchecked", &a.Unchecked),
	)
	if err == nil && a.StoreRaw == nil {
		err = d.Errf("app_passwords: %v", errNoStore)
	}
	return err
}

// readStore reads the backend that holds the application passwords.
func (a *AppPasswords) readStore(d *caddyfile.Dispenser) error {
	if a.StoreRaw != nil {
		return d.Err("app_passwords takes one of file and sql")
	}
	name := d.Val()
	unm, err := caddyfile.UnmarshalModule(d, "msa.auth."+name)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(unm, "module", name, nil)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner         = (*AppPasswords)(nil)
	_ caddyfile.Unmarshaler     = (*AppPasswords)(nil)
	_ caddymsa.Selective        = (*AppPasswords)(nil)
	_ caddymsa.Companion        = (*AppPasswords)(nil)
	_ caddymsa.PasswordVerifier = (*AppPasswords)(nil)
	_ caddymsa.DigestStore      = (*AppPasswords)(nil)
	_ caddymsa.SCRAMStore       = (*AppPasswords)(nil)
	_ caddymsa.Lookuper         = (*AppPasswords)(nil)
	_ caddymsa.Revisioner       = (*AppPasswords)(nil)
	_ caddymsa.Reloader         = (*AppPasswords)(nil)
)
