package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// login is what a session knows of who its client is. It is as good as the
// backend's latest word (docs/dev/architecture.md, decision 3).
type login struct {
	identity  caddymsa.Identity
	mechanism string
	backend   *backend
	revision  uint64 // of the backend's data, when it was asked
	since     time.Time
}

// appendFields name the user in a log line, and the application password that was used.
func (l *login) appendFields(f []zap.Field) []zap.Field {
	f = append(f, zap.String(fieldUser, l.identity.User))
	if l.identity.AppPassword != "" {
		f = append(f, zap.String(fieldApp, l.identity.AppPassword))
	}
	return f
}

// stillStands asks the backend again if it, or its data, may have changed since.
func (s *session) stillStands(ctx context.Context, srv *Server) error {
	l := s.login
	b := srv.Auth.backend(l.backend.id)
	if b == nil {
		return fmt.Errorf("%w: there is no backend %s any more", errLoginStale, l.backend.id)
	}
	again, ok := caddymsa.As[caddymsa.Lookuper](b.module, caddymsa.CapLookup)
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
	calling(ctx, "auth "+b.id, string(caddymsa.CapLookup))
	identity, err := within(ctx, srv.Auth.timeout(), func(ctx context.Context) (caddymsa.Identity, error) {
		return again.Lookup(ctx, s.peer(srv), l.identity.LoginName())
	})
	switch {
	case errors.Is(err, caddymsa.ErrCredentials):
		return fmt.Errorf("%w: backend %s no longer knows the user", errLoginStale, b.id)
	case err != nil:
		return fmt.Errorf("backend %s: looking up the user: %v", b.id, err) // its text is not for the client
	case identity.Fingerprint != l.identity.Fingerprint:
		return fmt.Errorf("%w: the credential at backend %s has changed", errLoginStale, b.id)
	}
	l.identity, l.backend, l.revision = identity, b, revision
	return nil
}
