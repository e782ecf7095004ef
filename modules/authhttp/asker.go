package authhttp

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// asker asks a service for one configuration.
type asker struct {
	*service
	fold    names.Case
	cache   *authcache.Cache // nil: none
	asked   atomic.Uint64
	reloads atomic.Uint64
}

// verify has the service check a password. With a cache, a password that was right for the user of
// that fingerprint is not sent again; whether the user still stands is asked all the same.
func (a *asker) verify(ctx context.Context, peer caddymsa.Peer, user, password string) (caddymsa.Identity, error) {
	if password == "" || !utf8.ValidString(password) {
		return caddymsa.Identity{}, caddymsa.ErrCredentials // nobody has that one
	}
	reloads := a.reloads.Load()
	key := func(id caddymsa.Identity) authcache.Key {
		// With the address: whether the user may come from there is the service's to say.
		return a.cache.Key(reloads, strings.Join([]string{a.fold.Key(user), id.Fingerprint, peer.IP.String()}, "\x00"), password)
	}
	if a.cache != nil {
		id, err := a.lookup(ctx, peer, user)
		switch {
		case err == nil && a.cache.Has(key(id)):
			return id, nil
		case err != nil && !isRefusal(err):
			return id, err
		}
	}
	id, err := a.askForms(ctx, peer, user, password)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	a.cache.Add(key(id))
	return id, nil
}

// askForms asks about the password as it was typed, and then about its other forms.
func (a *asker) askForms(ctx context.Context, peer caddymsa.Peer, user, password string) (id caddymsa.Identity, err error) {
	for _, form := range sasl.PasswordForms(password) {
		q := newQuestion(actionVerify, peer, a.fold.Key(user))
		q.Password = &form
		if id, err = a.person(ctx, q); !isRefusal(err) {
			return id, err
		}
	}
	return id, err
}

// lookup asks who a user is, without a proof.
func (a *asker) lookup(ctx context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	return a.person(ctx, newQuestion(actionLookup, peer, a.fold.Key(user)))
}

func (a *asker) person(ctx context.Context, q *question) (caddymsa.Identity, error) {
	if passwd.CheckName(q.User) != nil {
		return caddymsa.Identity{}, caddymsa.ErrCredentials // nobody is called that
	}
	body, err := a.ask(ctx, q)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	id, err := parsePerson(body, q.User)
	if err != nil {
		return caddymsa.Identity{}, fmt.Errorf("%s: %w", a.client.Name(), a.hide(err, q))
	}
	id.Case = a.fold
	return id, nil
}

// fetch is a tableauth.Fetch.
func (a *asker) fetch(ctx context.Context, user string) (*tableauth.Record, error) {
	peer, _ := ctx.Value(peerKey{}).(caddymsa.Peer)
	q := newQuestion(actionCredentials, peer, a.fold.Key(user))
	body, err := a.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	rec, err := parseStored(body, q.User)
	switch {
	case isRefusal(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: user %q: %w", a.client.Name(), user, a.hide(err, q))
	}
	return rec, nil
}

// peerKey is where a context has the peer, which tableauth does not hand on.
type peerKey struct{}

func withPeer(ctx context.Context, peer caddymsa.Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, peer)
}
