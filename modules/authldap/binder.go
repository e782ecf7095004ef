package authldap

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/go-ldap/ldap/v3"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// binder checks passwords by binding with them.
type binder struct {
	*directory
	cache   *authcache.Cache // nil: none
	reloads atomic.Uint64
}

// verify makes the same round trips for names that nobody has as for wrong passwords.
func (b *binder) verify(ctx context.Context, name, password string) (caddymsa.Identity, error) {
	name = fold(b.fold, name)
	if !b.admits(name) || password == "" || len(password) > passwd.MaxPassword || strings.IndexByte(password, 0) >= 0 {
		// An empty password would be an unauthenticated bind, which succeeds (RFC 4513 section
		// 5.1.2), and a server may read a password up to its NUL only.
		return caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	ctx, cancel := b.within(ctx)
	defer cancel()
	if !b.service {
		return b.verifyDirectly(ctx, name, password)
	}
	entry, err := b.find(ctx, name)
	why := err // the same round trips follow
	if err != nil && !errors.Is(err, caddymsa.ErrCredentials) {
		return caddymsa.Identity{}, err
	}
	dn, id := b.decoy(name), caddymsa.Identity{}
	var key authcache.Key
	if entry != nil {
		id = b.identity(name, entry)
		dn = entry.DN
		if !b.userDN.fixed() {
			dn, _ = b.userDN.expand(name) // it was expanded for the search
		}
		if b.cache != nil {
			key = b.cache.Key(b.reloads.Load(), name+"\x00"+id.Fingerprint, password)
			if b.cache.Has(key) {
				return id, nil
			}
		}
	}
	err = b.bindForms(ctx, name, dn, password, nil)
	switch {
	case entry == nil && (err == nil || errors.Is(err, caddymsa.ErrCredentials)): // or somebody knows the decoy's password
		return caddymsa.Identity{}, why
	case errors.Is(err, caddymsa.ErrCredentials):
		return caddymsa.Identity{}, whyRefused(err)
	case err != nil:
		return caddymsa.Identity{}, err
	}
	b.cache.Add(key)
	return id, nil
}

// keptOut are the codes with which Active Directory says that the password is not the reason: the account
// is disabled, expired or locked, or its password is, or must be changed.
var keptOut = regexp.MustCompile(`\bdata (530|531|532|533|701|773|775)\b`)

// whyRefused says, of a user who has an entry, what the server's refusal means.
func whyRefused(err error) error {
	if keptOut.MatchString(err.Error()) {
		return fmt.Errorf("%w: %v", caddymsa.ErrDisabled, err)
	}
	return fmt.Errorf("%w: %v", caddymsa.ErrWrongPassword, err)
}

// bindForms binds with the password as it was typed, and then with its other forms. For names
// that nobody has it does the same.
func (b *binder) bindForms(ctx context.Context, name, dn, password string, then func(*conn) error) (err error) {
	for _, form := range sasl.PasswordForms(password) {
		if err = b.bind(ctx, name, dn, form, then); !errors.Is(err, caddymsa.ErrCredentials) {
			return err
		}
	}
	return err
}

// verifyDirectly has no service account: what is to be read of the entry is read as the user.
func (b *binder) verifyDirectly(ctx context.Context, name, password string) (caddymsa.Identity, error) {
	dn, err := b.userDN.expand(name)
	if err != nil {
		return caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	id := caddymsa.Identity{User: name, Case: b.fold}
	err = b.bindForms(ctx, name, dn, password, func(c *conn) error {
		if !b.reads {
			return nil
		}
		entry, err := b.search(c, name)
		if err != nil {
			return fmt.Errorf("reading the entry as the user: %w", err)
		}
		id = b.identity(name, entry)
		return nil
	})
	if err != nil {
		return caddymsa.Identity{}, err
	}
	return id, nil
}

// lookup is for a service account only.
func (b *binder) lookup(ctx context.Context, name string) (caddymsa.Identity, error) {
	ctx, cancel := b.within(ctx)
	defer cancel()
	name = fold(b.fold, name)
	entry, err := b.find(ctx, name)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	return b.identity(name, entry), nil
}

func (b *binder) identity(name string, entry *ldap.Entry) caddymsa.Identity {
	u := b.user(name, entry)
	return caddymsa.Identity{User: u.Name, Addresses: u.Addresses, Attributes: u.Attributes, Fingerprint: b.fingerprintOf(entry), Case: b.fold}
}
