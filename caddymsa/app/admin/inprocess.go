package admin

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// routes are what the admin API answers, as its own router has them.
var routes = sync.OnceValues(func() (*http.ServeMux, map[string]caddy.AdminHandler) {
	mux, handlers := http.NewServeMux(), make(map[string]caddy.AdminHandler)
	for _, r := range (API{}).Routes() {
		mux.Handle(r.Pattern, http.NotFoundHandler())
		handlers[r.Pattern] = r.Handler
	}
	return mux, handlers
})

// Serve answers a request that did not come through Caddy's admin endpoint.
func Serve(w http.ResponseWriter, r *http.Request, as running.Operator) error {
	mux, handlers := routes()
	_, pattern := mux.Handler(r)
	handler := handlers[pattern]
	if handler == nil {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("there is no " + r.URL.Path + " in the admin API")}
	}
	ctx := context.WithValue(WithOperator(r.Context(), as.Name), inProcessKey{}, true)
	if as.Content {
		ctx = context.WithValue(ctx, contentKey{}, true)
	}
	return handler.ServeHTTP(w, r.WithContext(ctx))
}

// inProcessKey is that a request did not come through Caddy's admin endpoint.
type inProcessKey struct{}

// contentKey is whether who asks may read messages.
type contentKey struct{}
