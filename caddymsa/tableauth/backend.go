// Package tableauth answers for users whose credentials are at hand in a
// passwd.Table: what the modules msa.auth.file and msa.auth.static have in common.
package tableauth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	now     func() time.Time
}

// version is a table and its number, read together.
type version struct {
	table   *passwd.Table
	number  uint64
	ends    []time.Time // when application passwords expire, in order
	surveys sync.Map    // of survey, by capability and realms
}

type survey struct{ users, without int }

// New returns a backend without users. secret chooses the decoys; see
// caddymsa.DecoySecret. cache is the backend's own; nil means none. fold is how the tables to come
// compare names.
func New(secret []byte, cache *authcache.Cache, fold names.Case) *Backend {
	b := &Backend{secret: secret, cache: cache, fold: fold, now: time.Now}
	empty, _ := passwd.NewTable(nil, names.Folded)
	b.current.Store(&version{table: empty})
	return b
}

// Swap puts a new table in the place of the old. Open sessions are looked up again.
func (b *Backend) Swap(t *passwd.Table) {
	b.swap.Lock()
	defer b.swap.Unlock()
	b.current.Store(&version{table: t, number: b.current.Load().number + 1, ends: ends(t)})
}

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
	u := now.table.Find(name)
	if known := b.remembered(now.number, u, password, peer.IP); known != nil {
		return b.identity(known), nil
	}
	leave, err := Enter(ctx)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	found, err := now.table.Check(ctx, b.secret, name, password, peer.IP)
	leave()
	if err != nil {
		return caddymsa.Identity{}, refusal(err)
	}
	if found == nil {
		return caddymsa.Identity{}, whyNot(u, peer.IP, caddymsa.ErrWrongPassword)
	}
	b.cache.Add(b.key(now.number, found, password))
	return b.identity(found), nil
}

func (b *Backend) key(number uint64, u *passwd.User, password string) authcache.Key {
	return b.cache.Key(number, cacheName(u), password)
}

// cacheName tells a user's secrets apart.
func cacheName(u *passwd.User) string {
	if a := u.App(); a != nil {
		return u.Name + "\x00" + a.Label
	}
	return u.Name
}

// remembered is the user whose password was right a moment ago, u or with one of its application passwords; or nil. What is not a matter of the
// password is asked every time.
func (b *Backend) remembered(number uint64, u *passwd.User, password string, from netip.Addr) *passwd.User {
	if b.cache == nil || u == nil {
		return nil
	}
	return Each(u, func(one *passwd.User) bool {
		return b.cache.Has(b.key(number, one, password)) && whyNot(one, from, nil) == nil
	})
}

// Each returns the first of a user and what it is with each of its application passwords that is as wanted, or nil.
func Each(u *passwd.User, wanted func(*passwd.User) bool) *passwd.User {
	if wanted(u) {
		return u
	}
	for i := range u.Apps {
		if one := u.With(u.Apps[i].Label); wanted(one) {
			return one
		}
	}
	return nil
}

// refusal is what an error of a check is: an application password that may not be used is refused like a wrong one.
func refusal(err error) error {
	switch {
	case errors.Is(err, passwd.ErrAppExpired):
		return caddymsa.ErrExpired
	case errors.Is(err, passwd.ErrAppNetwork):
		return caddymsa.ErrNotFromThere
	}
	return err
}

// DigestCredentials implements caddymsa.DigestStore.
func (b *Backend) DigestCredentials(_ context.Context, peer caddymsa.Peer, user, realm string) ([]caddymsa.DigestCredential, error) {
	var all []caddymsa.DigestCredential
	table := b.current.Load().table
	for _, c := range table.DigestCandidates(user, realm) {
		if c.User.AllowedFrom(peer.IP) {
			all = append(all, caddymsa.DigestCredential{HA1: c.HA1, Password: c.Password, Identity: b.identity(c.User), Refused: whyNot(c.User, peer.IP, nil)})
		}
	}
	if len(all) == 0 {
		u := table.Find(user)
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
		return key, caddymsa.Identity{}, whyNot(table.Find(user), peer.IP, caddymsa.ErrNoCredential)
	}
	return key, b.identity(u), nil
}

// Lookup implements caddymsa.Lookuper.
func (b *Backend) Lookup(_ context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	u := b.current.Load().table.Find(user)
	if err := whyNot(u, peer.IP, nil); err != nil {
		return caddymsa.Identity{}, err
	}
	return b.identity(u), nil
}

func (b *Backend) identity(u *passwd.User) caddymsa.Identity {
	return Identity(u, b.fold)
}

// Identity is who a user is, with the application password that it has logged in with.
func Identity(u *passwd.User, fold names.Case) caddymsa.Identity {
	id := caddymsa.Identity{User: u.Name, Addresses: u.Addresses, Fingerprint: u.Fingerprint(), Attributes: u.Attributes, Case: fold}
	if a := u.App(); a != nil {
		id.AppPassword = a.Label
	}
	return id
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
	case u.App() != nil && u.App().Expired():
		return caddymsa.ErrExpired
	case u.App() != nil && !u.App().AllowedFrom(from):
		return caddymsa.ErrNotFromThere
	case otherwise != nil && len(u.Credentials)+len(u.Apps) == 0:
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
