package tableauth

import (
	"context"
	"net/netip"
	"sync/atomic"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Record is a user as it was fetched.
type Record struct{ passwd.User }

// Fetch returns the user of that name, or nil if there is none, and says in Record.Name how it is
// spelled. An error means that it cannot tell. name satisfies passwd.CheckName.
type Fetch func(ctx context.Context, name string) (*Record, error)

// Remote checks every kind of proof against users that are fetched one by one, at every
// question, from where the stored credentials can be read: a database, a directory.
type Remote struct {
	// Case is how names compare; it is set before the first question.
	Case names.Case
	// AppPasswords says that users may have some, so that name+label is a name: it is set before the first question.
	AppPasswords bool

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
	rec, err := r.fetch(ctx, name)
	user, label, ok := passwd.SplitLabel(name)
	if !r.AppPasswords || !ok || err != nil {
		return rec, err
	}
	base, err := r.fetch(ctx, user) // in any case, for the time it takes
	if rec != nil || base == nil || err != nil {
		return rec, err
	}
	if u := base.With(label); u != nil {
		return &Record{User: *u}, nil
	}
	return nil, nil
}

// plain is the user without attributes, or nil.
func (rec *Record) plain() *passwd.User {
	if rec == nil {
		return nil
	}
	return &rec.User
}

func (r *Remote) identity(u *passwd.User) caddymsa.Identity { return Identity(u, r.Case) }

// VerifyPassword implements caddymsa.PasswordVerifier. The cache saves the hash, not the
// question: what is remembered belongs to the stored credential, and ends with it.
func (r *Remote) VerifyPassword(ctx context.Context, peer caddymsa.Peer, name, password string) (caddymsa.Identity, error) {
	rec, err := r.user(ctx, name)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	if known := r.remembered(rec.plain(), password, peer.IP); known != nil {
		return r.identity(known), nil
	}
	leave, err := Enter(ctx)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	u, err := r.seen.Check(ctx, r.secret, r.Case.Key(name), rec.plain(), password, peer.IP)
	leave()
	if err != nil {
		return caddymsa.Identity{}, refusal(err)
	}
	if u == nil {
		return caddymsa.Identity{}, whyNot(rec.plain(), peer.IP, caddymsa.ErrWrongPassword)
	}
	r.cache.Add(r.key(u, password))
	return r.identity(u), nil
}

func (r *Remote) key(u *passwd.User, password string) authcache.Key {
	return r.cache.Key(0, u.Name+"\x00"+u.Fingerprint(), password)
}

// remembered is the user whose password was right a moment ago, u or with one of its application passwords; or nil.
func (r *Remote) remembered(u *passwd.User, password string, from netip.Addr) *passwd.User {
	if r.cache == nil || u == nil {
		return nil
	}
	return Each(u, func(one *passwd.User) bool {
		return whyNot(one, from, nil) == nil && r.cache.Has(r.key(one, password))
	})
}

// DigestCredentials implements caddymsa.DigestStore. Both names that may be meant are asked for,
// whether the first is known or not.
func (r *Remote) DigestCredentials(ctx context.Context, peer caddymsa.Peer, user, realm string) ([]caddymsa.DigestCredential, error) {
	names := []string{user}
	if realm != "" {
		names = append(names, user+"@"+realm)
	}
	var all []caddymsa.DigestCredential
	why := caddymsa.ErrUnknownUser
	for _, name := range names {
		rec, err := r.user(ctx, name)
		if err != nil {
			return nil, err
		}
		why = caddymsa.MoreTelling(why, whyNot(rec.plain(), peer.IP, caddymsa.ErrNoCredential))
		if rec == nil || !rec.AllowedFrom(peer.IP) {
			continue
		}
		for _, c := range rec.DigestCandidates(user, realm) {
			all = append(all, caddymsa.DigestCredential{HA1: c.HA1, Password: c.Password, Identity: r.identity(c.User), Refused: whyNot(c.User, peer.IP, nil)})
		}
	}
	if len(all) == 0 {
		return nil, why
	}
	return all, nil
}

// SCRAMCredential implements caddymsa.SCRAMStore.
func (r *Remote) SCRAMCredential(ctx context.Context, peer caddymsa.Peer, name string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	rec, err := r.user(ctx, name)
	if err != nil {
		return sasl.SCRAMCredential{}, caddymsa.Identity{}, err
	}
	key, u, err := r.seen.SCRAM(r.secret, r.Case.Key(name), rec.plain(), peer.IP)
	switch {
	case err != nil:
		return sasl.SCRAMCredential{}, caddymsa.Identity{}, err
	case u == nil:
		return key, caddymsa.Identity{}, whyNot(rec.plain(), peer.IP, caddymsa.ErrNoCredential)
	}
	return key, r.identity(u), nil
}

// Lookup implements caddymsa.Lookuper.
func (r *Remote) Lookup(ctx context.Context, peer caddymsa.Peer, name string) (caddymsa.Identity, error) {
	rec, err := r.user(ctx, name)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	if err := whyNot(rec.plain(), peer.IP, nil); err != nil {
		return caddymsa.Identity{}, err
	}
	return r.identity(&rec.User), nil
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
