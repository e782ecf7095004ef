package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// ask calls try for each backend that serves T in turn, until one says yes or cannot tell.
func ask[T any](x *exchange, c caddymsa.Capability, try func(ctx context.Context, peer caddymsa.Peer, backend T) (caddymsa.Identity, error)) error {
	srv, call, leave, err := x.s.enter(x.ctx)
	if err != nil {
		return err
	}
	defer leave()
	if !slices.Contains(srv.Auth.offered(), x.mechanism) {
		return errMechanismGone
	}
	if err := x.reserve(call, srv); err != nil {
		return err
	}
	refused := caddymsa.ErrCredentials
	for _, b := range srv.Auth.backends {
		backend, ok := caddymsa.As[T](b.module, c)
		if !ok {
			continue
		}
		revision := b.revision() // before the question: a change meanwhile must not be missed
		calling(call, "auth "+b.id, string(c))
		identity, err := within(call, srv.Auth.timeout(), func(ctx context.Context) (caddymsa.Identity, error) {
			return try(ctx, x.s.peer(srv), backend)
		})
		if err == nil {
			x.login = &login{identity: identity, mechanism: x.mechanism, backend: b, revision: revision, since: time.Now()}
			return nil
		}
		if !errors.Is(err, caddymsa.ErrCredentials) {
			metrics.authFailures.WithLabelValues(srv.name, b.id).Inc()
			return cannotTell{fmt.Errorf("backend %s: %w", b.id, err)}
		}
		refused = caddymsa.MoreTelling(refused, err)
	}
	return refused
}

// reserve has the throttle agree to a question, once an exchange.
func (x *exchange) reserve(ctx context.Context, srv *Server) (err error) {
	if x.claim != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, srv.Auth.timeout())
	defer cancel()
	x.claim, err = srv.gate.Claim(ctx, &srv.Auth.Throttle, x.s.ip, x.user)
	if err != nil && !errors.Is(err, gate.ErrThrottled) {
		err = cannotTell{err}
	}
	return err
}

// within bounds a question to a backend.
func within(ctx context.Context, limit time.Duration, ask func(context.Context) (caddymsa.Identity, error)) (caddymsa.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return ask(ctx)
}

func (x *exchange) checkPassword(user, password string) error {
	x.user = user
	return ask(x, caddymsa.CapPassword, func(ctx context.Context, peer caddymsa.Peer, b caddymsa.PasswordVerifier) (caddymsa.Identity, error) {
		return b.VerifyPassword(ctx, peer, user, password)
	})
}

func (x *exchange) checkDigest(r *sasl.DigestResponse) error {
	x.user = r.User
	return ask(x, caddymsa.CapDigest, func(ctx context.Context, peer caddymsa.Peer, b caddymsa.DigestStore) (caddymsa.Identity, error) {
		candidates, err := b.DigestCredentials(ctx, peer, r.User, r.Realm)
		if err != nil {
			return caddymsa.Identity{}, err
		}
		for _, c := range candidates {
			if c.HA1 != nil && r.Matches(*c.HA1) || c.HA1 == nil && r.MatchesPassword(c.Password) {
				return c.Identity, c.Refused
			}
		}
		return caddymsa.Identity{}, caddymsa.ErrWrongPassword
	})
}

// scramCredential finds the first backend that has a key for the user, which then
// answers alone. For a name that none knows, the last decoy is used.
func (x *exchange) scramCredential(user string) (credential sasl.SCRAMCredential, err error) {
	x.user = user
	err = ask(x, caddymsa.CapSCRAM, func(ctx context.Context, peer caddymsa.Peer, b caddymsa.SCRAMStore) (caddymsa.Identity, error) {
		c, identity, err := b.SCRAMCredential(ctx, peer, user)
		if err == nil || errors.Is(err, caddymsa.ErrCredentials) {
			credential = c
		}
		return identity, err
	})
	return credential, err
}

func (x *exchange) checkToken(user, token string) error {
	x.user = user
	err := ask(x, caddymsa.CapToken, func(ctx context.Context, peer caddymsa.Peer, b caddymsa.TokenVerifier) (caddymsa.Identity, error) {
		return b.VerifyToken(ctx, peer, user, token)
	})
	if err != nil {
		x.settle(err) // now: the client is told why, and may never come back for the 535
	}
	return err
}

func (x *exchange) mapCertificate() (user string, err error) {
	state := x.s.client.TLS()
	if state == nil || len(state.VerifiedChains) == 0 {
		return "", fmt.Errorf("%w: no verified client certificate", caddymsa.ErrCredentials)
	}
	err = ask(x, caddymsa.CapCertificate, func(ctx context.Context, peer caddymsa.Peer, b caddymsa.CertificateMapper) (caddymsa.Identity, error) {
		return b.MapCertificate(ctx, peer, state)
	})
	if err != nil {
		return "", err
	}
	x.user = x.login.identity.User
	return x.user, nil
}
