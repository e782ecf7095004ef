package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// userIdentities are what the backends say of users at the moment, for those who are told of their messages.
type userIdentities struct {
	srv *Server

	mu    sync.Mutex
	known map[string]knownIdentity
}

type knownIdentity struct {
	caddymsa.Identity
	none  bool // nobody knows the user
	until time.Time
}

const (
	identityTime  = time.Minute // an answer is good for
	maxIdentities = 10_000      // are remembered
)

func newUserIdentities(srv *Server) (*userIdentities, error) {
	for _, b := range srv.Auth.backends {
		if _, ok := caddymsa.As[caddymsa.Lookuper](b.module, caddymsa.CapLookup); ok {
			return &userIdentities{srv: srv, known: make(map[string]knownIdentity)}, nil
		}
	}
	return nil, errors.New("no auth backend can say what it knows of a user who does not log in at the moment; one that can is required, such as file, sql, ldap or http")
}

// of is what the first backend that knows the user says; none: no backend does.
func (u *userIdentities) of(ctx context.Context, user string) (who caddymsa.Identity, none bool, err error) {
	key, now := journal.Fold(user), time.Now()
	u.mu.Lock()
	k, ok := u.known[key]
	u.mu.Unlock()
	if ok && now.Before(k.until) {
		return k.Identity, k.none, nil
	}
	k = knownIdentity{none: true, until: now.Add(identityTime)}
	for _, b := range u.srv.Auth.backends {
		l, ok := caddymsa.As[caddymsa.Lookuper](b.module, caddymsa.CapLookup)
		if !ok {
			continue
		}
		who, err := within(ctx, u.srv.Auth.timeout(), func(ctx context.Context) (caddymsa.Identity, error) {
			return l.Lookup(ctx, caddymsa.Peer{Server: u.srv.Hostname}, user)
		})
		if errors.Is(err, caddymsa.ErrCredentials) {
			continue
		}
		if err != nil {
			return who, false, fmt.Errorf("backend %s: looking up the user: %w", b.id, err)
		}
		k.Identity, k.none = who, false
		break
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.known) >= maxIdentities {
		clear(u.known)
	}
	u.known[key] = k
	return k.Identity, k.none, nil
}
