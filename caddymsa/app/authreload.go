package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// reloadAuth has all backends read their data again, and open sessions looked up at their
// next message. It answers with the backends by server.
func reloadAuth(ctx context.Context, app *App, _ *struct{}) (map[string][]string, error) {
	done := make(map[string][]string)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		for _, b := range app.Servers[name].Auth.backends {
			if err := b.reload(ctx); err != nil {
				errs = append(errs, fmt.Errorf("server %s: backend %s: %w", name, b.id, err))
				continue
			}
			done[name] = append(done[name], b.id)
		}
	}
	if err := errors.Join(errs...); err != nil {
		app.log.Error("reloading auth: what could not be read keeps its former content", zap.Error(err))
		return nil, caddy.APIError{HTTPStatus: http.StatusUnprocessableEntity, Err: err}
	}
	app.log.Info("auth was reloaded", zap.Any("backends", done))
	return done, nil
}

func (b *backend) reload(ctx context.Context) error {
	if r, ok := b.module.(caddymsa.Reloader); ok {
		if err := r.Reload(ctx); err != nil {
			return err
		}
	}
	b.reloads.Add(1)
	return nil
}

// revision changes when the backend's data do, if it says so, and when somebody else does.
func (b *backend) revision() uint64 {
	n := b.reloads.Load()
	if r, ok := b.module.(caddymsa.Revisioner); ok {
		n += r.Revision()
	}
	return n
}
