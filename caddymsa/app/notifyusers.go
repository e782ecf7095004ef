package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
	return nil, errors.New("no auth backend can say what it knows of a user who does not log in at the moment; one that can, and has attributes of users, is required: http, ldap or dovecot")
}

// of is what the first backend says that knows a fact's user; none: no backend does.
func (u *userIdentities) of(ctx context.Context, j journal.Reader, f *journal.Fact) (who caddymsa.Identity, none bool, err error) {
	user := f.User
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
		peer := caddymsa.Peer{Server: u.srv.Hostname}
		lookup := func(ctx context.Context) (caddymsa.Identity, error) { return l.Lookup(ctx, peer, user) }
		who, err := within(ctx, u.srv.Auth.timeout(), lookup)
		if errors.Is(err, caddymsa.ErrNotFromThere) {
			if peer.IP, err = cameFrom(ctx, j, f); err != nil {
				return who, false, err
			}
			who, err = within(ctx, u.srv.Auth.timeout(), lookup)
		}
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

// cameFrom is where the message of a fact was submitted from, for users who may come from there only.
func cameFrom(ctx context.Context, j journal.Reader, f *journal.Fact) (ip netip.Addr, err error) {
	about := &journal.Query{ID: f.ID, What: []journal.Kind{journal.Accepted}}
	if f.ID == "" {
		return ip, nil
	}
	err = j.Facts(ctx, about, func(accepted *journal.Fact) bool {
		if accepted.Submission != nil {
			ip, _ = netip.ParseAddr(accepted.RemoteIP)
		}
		return false
	})
	return ip, err
}
