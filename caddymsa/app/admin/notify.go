package admin

import (
	"context"
	"net/http"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// serveNotify answers GET /msa/notify.
func serveNotify(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func(_ context.Context, p *Part) (*adminapi.Notifiers, error) {
		return &adminapi.Notifiers{Notifiers: append([]adminapi.Notifier{}, p.Notifiers()...)}, nil
	})
}
