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
	log := zap.NewNop()
	message, err := withApp(r.Context(), func(ctx context.Context, p *Part) (io.ReadSeekCloser, error) {
		if !p.ShowContent && ctx.Value(contentKey{}) == nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusForbidden, Err: errors.New("the content of messages is not shown: show_content is not set in the configuration's queue")}
		}
		opener, ok := p.having(ctx, id).Spool.(queue.MessageOpener)
		if !ok {
			return nil, caddy.APIError{HTTPStatus: http.StatusNotImplemented, Err: errors.New("this spool cannot show messages")}
		}
		log = p.Log
		m, err := opener.OpenMessage(ctx, id)
		p.Log.Warn("content of a message read by an administrator", zap.String("queue_id", id), zap.String("admin", r.RemoteAddr), zap.String("by", operatorOf(r)), zap.Error(err))
		return m, apiError(id, err)
	})
	if err != nil {
		return err
	}
	defer message.Close()
	return sendMessage(w, r, message, log.With(zap.String("queue_id", id)))
}

func sendMessage(w http.ResponseWriter, r *http.Request, message io.Reader, log *zap.Logger) error {
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	sent, err := io.Copy(w, message)
	if err != nil && sent > 0 && r.Context().Value(inProcessKey{}) == nil {
		log.Warn("content of a message was not sent whole", zap.Error(err))
		panic(http.ErrAbortHandler) // Caddy would write the error behind it, and end the answer as if it were whole
	}
	return err
}
