package admin

import (
	"context"
	"net/http"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// serveServers answers GET /msa/servers.
func serveServers(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func(_ context.Context, p *Part) (*adminapi.Servers, error) { return p.InForce() })
}
