package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// serveMessage answers GET /msa/queue-content/<id>: the message itself, where the configuration
// allows it. Each reading is logged.
func serveMessage(w http.ResponseWriter, r *http.Request) error {
	id := strings.TrimPrefix(r.URL.Path, "/msa/queue-content/")
	message, err := withApp(r.Context(), func(ctx context.Context, p *Part) (io.ReadSeekCloser, error) {
		if !p.ShowContent && ctx.Value(contentKey{}) == nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusForbidden, Err: errors.New("the content of messages is not shown: show_content is not set in the configuration's queue")}
		}
		opener, ok := p.having(ctx, id).Spool.(queue.MessageOpener)
		if !ok {
			return nil, caddy.APIError{HTTPStatus: http.StatusNotImplemented, Err: errors.New("this spool cannot show messages")}
		}
		m, err := opener.OpenMessage(ctx, id)
		p.Log.Warn("content of a message read by an administrator", zap.String("queue_id", id), zap.String("admin", r.RemoteAddr), zap.String("by", operatorOf(r)), zap.Error(err))
		return m, apiError(id, err)
	})
	if err != nil {
		return err
	}
	defer message.Close()
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, err = io.Copy(w, message)
	return err
}
