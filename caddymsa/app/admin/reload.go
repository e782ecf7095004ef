package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// reloadAuth has all backends read their data again, and open sessions looked up at their
// next message. It answers with the backends by server.
func reloadAuth(ctx context.Context, p *Part, _ *struct{}) (map[string][]string, error) {
	done := make(map[string][]string)
	var errs []error
	for _, srv := range p.Servers {
		for _, b := range srv.Backends {
			if err := b.Reload(ctx); err != nil {
				errs = append(errs, fmt.Errorf("server %s: backend %s: %w", srv.Name, b.ID, err))
				continue
			}
			done[srv.Name] = append(done[srv.Name], b.ID)
		}
	}
	if err := errors.Join(errs...); err != nil {
		p.Log.Error("reloading auth: what could not be read keeps its former content", zap.Error(err))
		return nil, caddy.APIError{HTTPStatus: http.StatusUnprocessableEntity, Err: err}
	}
	p.Log.Info("auth was reloaded", zap.Any("backends", done))
	return done, nil
}
