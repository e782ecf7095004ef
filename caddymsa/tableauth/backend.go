// Package tableauth answers for users whose credentials are at hand in a
// passwd.Table: what the modules msa.auth.file and msa.auth.static have in common.
package tableauth

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Backend checks every kind of proof against a table that may be swapped while it
// is in use. The zero value needs New.
type Backend struct {
	swap    sync.Mutex // a number is one table's alone
	current atomic.Pointer[version]
	secret  []byte
	cache   *authcache.Cache // nil: none
}

// version is a table and its number, read together.
type version struct {
	table  *passwd.Table
	number uint64
}

// New returns a backend without users. secret chooses the decoys; see
// caddymsa.DecoySecret. cache is the backend's own; nil means none.
func New(secret []byte, cache *authcache.Cache) *Backend {
	b := &Backend{secret: secret, cache: cache}
	empty, _ := passwd.NewTable(nil)
	b.current.Store(&version{table: empty})
	return b
}

// Swap puts a new table in the place of the old. Open sessions are looked up again.
func (b *Backend) Swap(t *passwd.Table) {
	b.swap.Lock()
	defer b.swap.Unlock()
	b.current.Store(&version{t, b.current.Load().number + 1})
}

// Revision implements caddymsa.Revisioner.
func (b *Backend) Revision() uint64 { return b.current.Load().number }

// VerifyPassword implements caddymsa.PasswordVerifier.
func (b *Backend) VerifyPassword(ctx context.Context, peer caddymsa.Peer, name, password string) (caddymsa.Identity, error) {
	now := b.current.Load()
	key := b.cache.Key(now.number, name, password)
	if b.cache.Has(key) {
		// What is not a matter of the password is asked every time.
		if u := now.table.Lookup(name); u != nil && !u.Disabled && u.AllowedFrom(peer.IP) {
			return identity(u), nil
		}
	}
	leave, err := Enter(ctx)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	u, err := now.table.Check(ctx, b.secret, name, password, peer.IP)
	leave()
	if err != nil {
		return caddymsa.Identity{}, err
	}
	if u == nil {
		return caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	b.cache.Add(key)
	return identity(u), nil
}

// DigestCredentials implements caddymsa.DigestStore.
func (b *Backend) DigestCredentials(_ context.Context, peer caddymsa.Peer, user, realm string) ([]caddymsa.DigestCredential, error) {
	var all []caddymsa.DigestCredential
	for _, c := range b.current.Load().table.DigestCandidates(user, realm) {
		if c.User.AllowedFrom(peer.IP) {
			all = append(all, caddymsa.DigestCredential{HA1: c.HA1, Password: c.Password, Identity: identity(c.User)})
		}
	}
	return all, nil
}

// SCRAMCredential implements caddymsa.SCRAMStore.
func (b *Backend) SCRAMCredential(_ context.Context, peer caddymsa.Peer, user string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	key, u, err := b.current.Load().table.SCRAM(b.secret, user, peer.IP)
	switch {
	case err != nil:
		return sasl.SCRAMCredential{}, caddymsa.Identity{}, err
	case u == nil:
		return key, caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	return key, identity(u), nil
}

// Lookup implements caddymsa.Lookuper.
func (b *Backend) Lookup(_ context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	u := b.current.Load().table.Lookup(user)
	if u == nil || u.Disabled || !u.AllowedFrom(peer.IP) {
		return caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	return identity(u), nil
}

func identity(u *passwd.User) caddymsa.Identity {
	return caddymsa.Identity{User: u.Name, Addresses: u.Addresses, Fingerprint: u.Fingerprint()}
}

// Interface guards
var (
	_ caddymsa.PasswordVerifier = (*Backend)(nil)
	_ caddymsa.DigestStore      = (*Backend)(nil)
	_ caddymsa.SCRAMStore       = (*Backend)(nil)
	_ caddymsa.Lookuper         = (*Backend)(nil)
	_ caddymsa.Revisioner       = (*Backend)(nil)
)
