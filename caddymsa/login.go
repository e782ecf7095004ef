package caddymsa

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// login is what a session knows of who its client is. It is as good as the
// backend's latest word (DESIGN.md decision 3).
type login struct {
	identity  Identity
	mechanism string
	backend   *backend
	revision  uint64 // of the backend's data, when it was asked
	since     time.Time
}

// Auth starts an exchange. What it needs of a backend it asks the configuration
// in charge at that moment.
func (s *session) Auth(ctx context.Context, mechanism string) (gosasl.Server, error) {
	x := &exchange{s: s, ctx: ctx, mechanism: mechanism}
	srv, _, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if proxy := x.proxied(srv); proxy != nil {
		x.server = proxy
		return x, nil
	}
	switch mechanism {
	case sasl.Plain:
		x.server = sasl.NewPlain(x.checkPassword)
	case sasl.Login:
		x.server = sasl.NewLogin(x.checkPassword)
	case sasl.DigestMD5:
		config := srv.Auth.digestConfig()
		config.Verify = x.checkDigest
		x.server = sasl.NewDigestMD5(config)
	case sasl.SCRAMSHA256, sasl.SCRAMSHA256Plus:
		binding := s.channelBinding()
		x.server = sasl.NewSCRAM(sasl.SCRAMConfig{
			Lookup:        x.scramCredential,
			Binding:       binding,
			Plus:          mechanism == sasl.SCRAMSHA256Plus,
			PlusAnnounced: binding != nil && slices.Contains(srv.Auth.offered, sasl.SCRAMSHA256Plus),
		})
	case sasl.OAuthBearer:
		x.server = sasl.NewOAuthBearer(x.checkToken)
	case sasl.XOAuth2:
		x.server = sasl.NewXOAuth2(x.checkToken)
	case sasl.External:
		x.server = sasl.NewExternal(x.mapCertificate)
	default:
		return nil, errMechanismGone
	}
	return x, nil
}

// exchange is one AUTH. It wraps a mechanism, so that its errors become replies and
// the login counts when the mechanism is through.
type exchange struct {
	s         *session
	ctx       context.Context
	mechanism string
	server    gosasl.Server

	user  string // as claimed, for the log
	login *login // as proven, or about to be
}

// Next implements sasl.Server.
func (x *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = x.server.Next(response)
	if err == nil && !done {
		return challenge, false, nil
	}
	srv, _, leave, gone := x.s.enter(x.ctx)
	if gone != nil {
		return nil, false, gone
	}
	defer leave()
	if err == nil && x.login == nil {
		err = errors.New("the mechanism is through without a login")
	}
	if err != nil {
		x.failed(srv, err)
		return nil, false, toReply(err)
	}
	x.s.login = x.login
	metrics.auth.WithLabelValues(srv.name, x.mechanism, "ok").Inc()
	srv.log.Debug("authenticated", append(x.s.fields(), zap.String(fieldMechanism, x.mechanism),
		zap.String(fieldBackend, x.login.backend.id))...)
	return challenge, true, nil
}

// Close implements io.Closer, for exchanges that somebody else has to hear the end of.
func (x *exchange) Close() error {
	if c, ok := x.server.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (x *exchange) failed(srv *Server, err error) {
	fields := append(x.s.fields(), zap.String(fieldMechanism, x.mechanism), zap.String(fieldUser, x.user), zap.Error(err))
	if isOurs(err) {
		metrics.auth.WithLabelValues(srv.name, x.mechanism, "cannot_tell").Inc()
		srv.log.Error("authentication could not be decided", fields...)
		return
	}
	metrics.auth.WithLabelValues(srv.name, x.mechanism, "refused").Inc()
	srv.log.Warn("authentication failed", fields...)
}

// ask calls try for each backend that serves T in turn, until one says yes or cannot tell.
func ask[T any](x *exchange, c Capability, try func(ctx context.Context, peer Peer, backend T) (Identity, error)) error {
	srv, call, leave, err := x.s.enter(x.ctx)
	if err != nil {
		return err
	}
	defer leave()
	if !slices.Contains(srv.Auth.offered, x.mechanism) {
		return errMechanismGone
	}
	refused := error(ErrCredentials)
	for _, b := range srv.Auth.backends {
		backend, ok := as[T](b, c)
		if !ok {
			continue
		}
		revision := b.revision() // before the question: a change meanwhile must not be missed
		identity, err := try(call, x.s.peer(srv), backend)
		if err == nil {
			x.login = &login{identity: identity, mechanism: x.mechanism, backend: b, revision: revision, since: time.Now()}
			return nil
		}
		if !errors.Is(err, ErrCredentials) {
			return cannotTell{fmt.Errorf("backend %s: %w", b.id, err)}
		}
		refused = err
	}
	return refused
}

func (x *exchange) checkPassword(user, password string) error {
	x.user = user
	return ask(x, CapPassword, func(ctx context.Context, peer Peer, b PasswordVerifier) (Identity, error) {
		return b.VerifyPassword(ctx, peer, user, password)
	})
}

func (x *exchange) checkDigest(r *sasl.DigestResponse) error {
	x.user = r.User
	return ask(x, CapDigest, func(ctx context.Context, peer Peer, b DigestStore) (Identity, error) {
		candidates, err := b.DigestCredentials(ctx, peer, r.User, r.Realm)
		if err != nil {
			return Identity{}, err
		}
		for _, c := range candidates {
			if c.HA1 != nil && r.Matches(*c.HA1) || c.HA1 == nil && r.MatchesPassword(c.Password) {
				return c.Identity, nil
			}
		}
		return Identity{}, ErrCredentials
	})
}

// scramCredential finds the first backend that has a key for the user, which then
// answers alone. For a name that none knows, the last decoy is used.
func (x *exchange) scramCredential(user string) (credential sasl.SCRAMCredential, err error) {
	x.user = user
	err = ask(x, CapSCRAM, func(ctx context.Context, peer Peer, b SCRAMStore) (Identity, error) {
		c, identity, err := b.SCRAMCredential(ctx, peer, user)
		if err == nil || errors.Is(err, ErrCredentials) {
			credential = c
		}
		return identity, err
	})
	return credential, err
}

func (x *exchange) checkToken(user, token string) error {
	x.user = user
	return ask(x, CapToken, func(ctx context.Context, peer Peer, b TokenVerifier) (Identity, error) {
		return b.VerifyToken(ctx, peer, user, token)
	})
}

func (x *exchange) mapCertificate() (user string, err error) {
	state := x.s.conn.TLS()
	if state == nil || len(state.VerifiedChains) == 0 {
		return "", fmt.Errorf("%w: no verified client certificate", ErrCredentials)
	}
	err = ask(x, CapCertificate, func(ctx context.Context, peer Peer, b CertificateMapper) (Identity, error) {
		return b.MapCertificate(ctx, peer, state)
	})
	if err != nil {
		return "", err
	}
	x.user = x.login.identity.User
	return x.user, nil
}

// stillStands asks the backend again if it, or its data, may have changed since.
func (s *session) stillStands(ctx context.Context, srv *Server) error {
	l := s.login
	b := srv.Auth.backend(l.backend.id)
	if b == nil {
		return fmt.Errorf("%w: there is no backend %s any more", errLoginStale, l.backend.id)
	}
	again, ok := as[Lookuper](b, CapLookup)
	if !ok {
		if b.config != l.backend.config || time.Since(l.since) > time.Duration(srv.Auth.Reauth) {
			return fmt.Errorf("%w: backend %s cannot look users up", errLoginStale, b.id)
		}
		return nil
	}
	revision := b.revision()
	if b == l.backend && revision == l.revision {
		return nil
	}
	identity, err := again.Lookup(ctx, s.peer(srv), l.identity.User)
	switch {
	case errors.Is(err, ErrCredentials):
		return fmt.Errorf("%w: backend %s no longer knows the user", errLoginStale, b.id)
	case err != nil:
		return fmt.Errorf("backend %s: looking up the user: %v", b.id, err) // its text is not for the client
	case identity.Fingerprint != l.identity.Fingerprint:
		return fmt.Errorf("%w: the credential at backend %s has changed", errLoginStale, b.id)
	}
	l.identity, l.backend, l.revision = identity, b, revision
	return nil
}
