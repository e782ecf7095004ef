package caddymsa

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// SpoolCheck is a line of what GET /msa/spool/check answers. The last one has Done, or an Error that
// ended it.
type SpoolCheck struct {
	Messages int    `json:"messages"` // read so far
	Octets   int64  `json:"octets,omitempty"`
	ID       string `json:"id,omitempty"` // of a message that is not whole
	Problem  string `json:"problem,omitempty"`
	Done     bool   `json:"done,omitempty"`
	Error    string `json:"error,omitempty"`
}

// serveSpoolCheck reads the whole spool, and answers a line of JSON at a time.
func serveSpoolCheck(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use GET")}
	}
	_, err := withApp(r.Context(), func(ctx context.Context, app *App) (struct{}, error) {
		checker, ok := app.delivery.store.spool.(queue.Checker)
		if !ok {
			return struct{}{}, caddy.APIError{HTTPStatus: http.StatusNotImplemented, Err: errors.New("this spool cannot check itself")}
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		lines := json.NewEncoder(w)
		say := func(line SpoolCheck) {
			_ = lines.Encode(line) // who has gone ends ctx
			_ = http.NewResponseController(w).Flush()
		}
		read := 0
		messages, octets, err := checker.Check(ctx, func(n int) {
			read = n
			say(SpoolCheck{Messages: n})
		}, func(id, problem string) { say(SpoolCheck{Messages: read, ID: id, Problem: problem}) })
		end := SpoolCheck{Messages: messages, Octets: octets, Done: err == nil}
		if err != nil {
			end.Error = err.Error()
		}
		say(end)
		return struct{}{}, nil
	})
	return err
}
