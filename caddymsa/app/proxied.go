package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// proxied begins an exchange that a backend hands on whole; it is nil if none does.
func (x *exchange) proxied(srv *Server) *proxiedServer {
	for _, b := range srv.Auth.backends {
		if p, ok := b.proxies(x.mechanism); ok {
			return &proxiedServer{x: x, partner: p.ProxyExchange(x.s.peer(srv), x.mechanism), backend: b, revision: b.revision()}
		}
	}
	return nil
}

// proxiedServer turns its partner's last word into a login.
type proxiedServer struct {
	x        *exchange
	partner  caddymsa.ProxiedExchange
	backend  *backend
	revision uint64
}

// Next implements sasl.Server. A configuration that came since the last turn must have the
// same backend: the partner cannot change in the middle.
func (s *proxiedServer) Next(response []byte) (challenge []byte, done bool, err error) {
	srv, call, leave, err := s.x.s.enter(s.x.ctx)
	if err != nil {
		return nil, false, err
	}
	defer leave()
	now := srv.Auth.backend(s.backend.id)
	if now == nil || now.config != s.backend.config {
		return nil, false, cannotTell{fmt.Errorf("backend %s has changed in the middle of an exchange", s.backend.id)}
	}
	call, cancel := context.WithTimeout(call, srv.Auth.timeout())
	defer cancel()
	if err := s.x.reserve(call, srv); err != nil {
		return nil, false, err
	}
	calling(call, "auth "+s.backend.id, "Next")
	challenge, done, err = s.partner.Next(call, response)
	switch {
	case errors.Is(err, caddymsa.ErrCredentials):
		return nil, false, err
	case err != nil:
		return nil, false, cannotTell{fmt.Errorf("backend %s: %w", s.backend.id, err)}
	case done:
		s.x.login = &login{identity: s.partner.Identity(), mechanism: s.x.mechanism, backend: now, revision: s.revision, since: time.Now()}
		s.x.user = s.x.login.identity.User
	}
	return challenge, done, nil
}

// Close implements io.Closer.
func (s *proxiedServer) Close() error { return s.partner.Close() }
