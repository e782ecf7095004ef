package tableauth

import (
	"context"
	"sync/atomic"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Record is a user as it was fetched.
type Record struct {
	passwd.User
	Attributes map[string]string
}

// Fetch returns the user of exactly that name, or nil if there is none. An error means that it
// cannot tell. name satisfies passwd.CheckName.
type Fetch func(ctx context.Context, name string) (*Record, error)

// Remote checks every kind of proof against users that are fetched one by one, at every
// question, from where the stored credentials can be read: a database, a directory.
type Remote struct {
	fetch  Fetch
	seen   *passwd.Seen
	secret []byte
	cache  *authcache.Cache // nil: none
	asked  atomic.Uint64
}

// NewRemote returns a backend. seen is what unknown names are checked against, secret
// chooses among it; see caddymsa.DecoySecret. cache is the backend's own; nil means none.
func NewRemote(fetch Fetch, seen *passwd.Seen, secret []byte, cache *authcache.Cache) *Remote {
	return &Remote{fetch: fetch, seen: seen, secret: secret, cache: cache}
}

// user fetches a user. A name that nobody can have is unknown without a question: not every
// place could answer for it.
func (r *Remote) user(ctx context.Context, name string) (*Record, error) {
	if passwd.CheckName(name) != nil {
		return nil, nil
	}
	return r.fetch(ctx, name)
}

// plain is the user without attributes, or nil.
func (rec *Record) plain() *passwd.User {
	if rec == nil {
		return nil
	}
	return &rec.User
}

func (rec *Record) identity() caddymsa.Identity {
	id := identity(&rec.User)
	id.Attributes = rec.Attributes
	return id
}

// VerifyPassword implements caddymsa.PasswordVerifier. The cache saves the hash, not the
// question: what is remembered belongs to the stored credential, and ends with it.
func (r *Remote) VerifyPassword(ctx context.Context, peer caddymsa.Peer, name, password string) (caddymsa.Identity, error) {
	rec, err := r.user(ctx, name)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	known := rec != nil && !rec.Disabled && rec.AllowedFrom(peer.IP)
	var key authcache.Key
	if known && r.cache != nil {
		key = r.cache.Key(0, name+"\x00"+rec.Fingerprint(), password)
		if r.cache.Has(key) {
			return rec.identity(), nil
		}
	}
	leave, err := Enter(ctx)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	u, err := r.seen.Check(ctx, r.secret, name, rec.plain(), password, peer.IP)
	leave()
	if err != nil {
		return caddymsa.Identity{}, err
	}
	if u == nil {
		return caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	r.cache.Add(key)
	return rec.identity(), nil
}

// DigestCredentials implements caddymsa.DigestStore. Both names that may be meant are asked for,
// whether the first is known or not.
func (r *Remote) DigestCredentials(ctx context.Context, peer caddymsa.Peer, user, realm string) ([]caddymsa.DigestCredential, error) {
	names := []string{user}
	if realm != "" {
		names = append(names, user+"@"+realm)
	}
	var all []caddymsa.DigestCredential
	for _, name := range names {
		rec, err := r.user(ctx, name)
		if err != nil {
			return nil, err
		}
		if rec == nil || !rec.AllowedFrom(peer.IP) {
			continue
		}
		for _, c := range rec.DigestCandidates(user, realm) {
			all = append(all, caddymsa.DigestCredential{HA1: c.HA1, Password: c.Password, Identity: rec.identity()})
		}
	}
	return all, nil
}

// SCRAMCredential implements caddymsa.SCRAMStore.
func (r *Remote) SCRAMCredential(ctx context.Context, peer caddymsa.Peer, name string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	rec, err := r.user(ctx, name)
	if err != nil {
		return sasl.SCRAMCredential{}, caddymsa.Identity{}, err
	}
	key, u, err := r.seen.SCRAM(r.secret, name, rec.plain(), peer.IP)
	switch {
	case err != nil:
		return sasl.SCRAMCredential{}, caddymsa.Identity{}, err
	case u == nil:
		return key, caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	return key, rec.identity(), nil
}

// Lookup implements caddymsa.Lookuper.
func (r *Remote) Lookup(ctx context.Context, peer caddymsa.Peer, name string) (caddymsa.Identity, error) {
	rec, err := r.user(ctx, name)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	if rec == nil || rec.Disabled || !rec.AllowedFrom(peer.IP) {
		return caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	return rec.identity(), nil
}

// Revision implements caddymsa.Revisioner. Nobody says when the data change, so it is another
// one each time: open sessions are looked up before every message.
func (r *Remote) Revision() uint64 { return r.asked.Add(1) }

// Interface guards
var (
	_ caddymsa.PasswordVerifier = (*Remote)(nil)
	_ caddymsa.DigestStore      = (*Remote)(nil)
	_ caddymsa.SCRAMStore       = (*Remote)(nil)
	_ caddymsa.Lookuper         = (*Remote)(nil)
	_ caddymsa.Revisioner       = (*Remote)(nil)
)
