package authhttp

import (
	"context"
	"fmt"
	"sync/atomic"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// asker asks a service for one configuration.
type asker struct {
	*service
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
	if a.cache != nil {
		id, err := a.lookup(ctx, peer, user)
		switch {
		case err == nil && a.cache.Has(a.cache.Key(reloads, user+"\x00"+id.Fingerprint, password)):
			return id, nil
		case err != nil && !isRefusal(err):
			return id, err
		}
	}
	q := newQuestion(actionVerify, peer, user)
	q.Password = &password
	id, err := a.person(ctx, q)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	a.cache.Add(a.cache.Key(reloads, user+"\x00"+id.Fingerprint, password))
	return id, nil
}

// lookup asks who a user is, without a proof.
func (a *asker) lookup(ctx context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	return a.person(ctx, newQuestion(actionLookup, peer, user))
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
		return caddymsa.Identity{}, fmt.Errorf("%s: %w", a.name, hide(err, q.secret(), a.bearer, a.hmacKey))
	}
	return id, nil
}

// fetch is a tableauth.Fetch.
func (a *asker) fetch(ctx context.Context, user string) (*tableauth.Record, error) {
	peer, _ := ctx.Value(peerKey{}).(caddymsa.Peer)
	body, err := a.ask(ctx, newQuestion(actionCredentials, peer, user))
	if err != nil {
		return nil, err
	}
	rec, err := parseStored(body, user)
	switch {
	case isRefusal(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: user %q: %w", a.name, user, hide(err, a.bearer, a.hmacKey))
	}
	return rec, nil
}

// peerKey is where a context has the peer, which tableauth does not hand on.
type peerKey struct{}

func withPeer(ctx context.Context, peer caddymsa.Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, peer)
}
