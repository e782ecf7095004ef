package app

import (
	"net/http"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/admin"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// ServeAdmin implements running.Admin.
func (*App) ServeAdmin(w http.ResponseWriter, r *http.Request, as running.Operator) error {
	return admin.Serve(w, r, as)
}

// Interface guard
var _ running.Admin = (*App)(nil)
