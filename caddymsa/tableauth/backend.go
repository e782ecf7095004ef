// Package tableauth answers for users whose credentials are at hand in a
// passwd.Table: what the modules msa.auth.file and msa.auth.static have in common.
package tableauth

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
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
	fold    names.Case
}

// version is a table and its number, read together.
type version struct {
	table   *passwd.Table
	number  uint64
	surveys sync.Map // of survey, by capability and realms
}

type survey struct{ users, without int }

// New returns a backend without users. secret chooses the decoys; see
// caddymsa.DecoySecret. cache is the backend's own; nil means none. fold is how the tables to come
// compare names.
func New(secret []byte, cache *authcache.Cache, fold names.Case) *Backend {
	b := &Backend{secret: secret, cache: cache, fold: fold}
	empty, _ := passwd.NewTable(nil, names.Folded)
	b.current.Store(&version{table: empty})
	return b
}

// Swap puts a new table in the place of the old. Open sessions are looked up again.
func (b *Backend) Swap(t *passwd.Table) {
	b.swap.Lock()
	defer b.swap.Unlock()
	b.current.Store(&version{table: t, number: b.current.Load().number + 1})
}

// Revision implements caddymsa.Revisioner.
func (b *Backend) Revision() uint64 { return b.current.Load().number }

// Survey implements caddymsa.Surveyor. The users are gone through once a table.
func (b *Backend) Survey(c caddymsa.Capability, realms []string) (users, without int) {
	now := b.current.Load()
	key := strings.Join(append([]string{string(c)}, realms...), "\x00")
	if s, ok := now.surveys.Load(key); ok {
		return s.(survey).users, s.(survey).without
	}
	users, without = now.table.Survey(func(u *passwd.User) bool {
		switch c {
		case caddymsa.CapSCRAM:
			return u.CanSCRAM()
		case caddymsa.CapDigest:
			return u.CanDigest(realms)
		}
		return true
	})
	now.surveys.Store(key, survey{users, without})
	return users, without
}

// VerifyPassword implements caddymsa.PasswordVerifier.
func (b *Backend) VerifyPassword(ctx context.Context, peer caddymsa.Peer, name, password string) (caddymsa.Identity, error) {
	now := b.current.Load()
	key := b.cache.Key(now.number, b.fold.Key(name), password)
	if b.cache.Has(key) {
		// What is not a matter of the password is asked every time.
		if u := now.table.Lookup(name); u != nil && !u.Disabled && u.AllowedFrom(peer.IP) {
			return b.identity(u), nil
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
		return caddymsa.Identity{}, whyNot(now.table.Lookup(name), peer.IP, caddymsa.ErrWrongPassword)
	}
	b.cache.Add(key)
	return b.identity(u), nil
}

// DigestCredentials implements caddymsa.DigestStore.
func (b *Backend) DigestCredentials(_ context.Context, peer caddymsa.Peer, user, realm string) ([]caddymsa.DigestCredential, error) {
	var all []caddymsa.DigestCredential
	table := b.current.Load().table
	for _, c := range table.DigestCandidates(user, realm) {
		if c.User.AllowedFrom(peer.IP) {
			all = append(all, caddymsa.DigestCredential{HA1: c.HA1, Password: c.Password, Identity: b.identity(c.User)})
		}
	}
	if len(all) == 0 {
		u := table.Lookup(user)
		if u == nil && realm != "" {
			u = table.Lookup(user + "@" + realm)
		}
		return nil, whyNot(u, peer.IP, caddymsa.ErrNoCredential)
	}
	return all, nil
}

// SCRAMCredential implements caddymsa.SCRAMStore.
func (b *Backend) SCRAMCredential(_ context.Context, peer caddymsa.Peer, user string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	table := b.current.Load().table
	key, u, err := table.SCRAM(b.secret, user, peer.IP)
	switch {
	case err != nil:
		return sasl.SCRAMCredential{}, caddymsa.Identity{}, err
	case u == nil:
		return key, caddymsa.Identity{}, whyNot(table.Lookup(user), peer.IP, caddymsa.ErrNoCredential)
	}
	return key, b.identity(u), nil
}

// Lookup implements caddymsa.Lookuper.
func (b *Backend) Lookup(_ context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	u := b.current.Load().table.Lookup(user)
	if err := whyNot(u, peer.IP, nil); err != nil {
		return caddymsa.Identity{}, err
	}
	return b.identity(u), nil
}

func (b *Backend) identity(u *passwd.User) caddymsa.Identity {
	return caddymsa.Identity{User: u.Name, Addresses: u.Addresses, Fingerprint: u.Fingerprint(), Attributes: u.Attributes, Case: b.fold}
}

// whyNot says why a user, who may be nil, is refused; otherwise if it is not for the user itself.
func whyNot(u *passwd.User, from netip.Addr, otherwise error) error {
	switch {
	case u == nil:
		return caddymsa.ErrUnknownUser
	case u.Disabled && u.Problem != nil:
		return fmt.Errorf("%w: %w", caddymsa.ErrDisabled, u.Problem)
	case u.Disabled:
		return caddymsa.ErrDisabled
	case !u.AllowedFrom(from):
		return caddymsa.ErrNotFromThere
	case otherwise != nil && len(u.Credentials) == 0:
		return caddymsa.ErrNoCredential
	}
	return otherwise
}

// Interface guards
var (
	_ caddymsa.PasswordVerifier = (*Backend)(nil)
	_ caddymsa.DigestStore      = (*Backend)(nil)
	_ caddymsa.SCRAMStore       = (*Backend)(nil)
	_ caddymsa.Lookuper         = (*Backend)(nil)
	_ caddymsa.Revisioner       = (*Backend)(nil)
	_ caddymsa.Surveyor         = (*Backend)(nil)
)
