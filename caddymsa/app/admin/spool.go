package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// serveSpoolCheck reads the whole spool, and answers a line of JSON at a time.
func serveSpoolCheck(w http.ResponseWriter, r *http.Request) error {
	_, err := withApp(r.Context(), func(ctx context.Context, p *Part) (struct{}, error) {
		checker, ok := p.Spool.(queue.Checker)
		if !ok {
			return struct{}{}, caddy.APIError{HTTPStatus: http.StatusNotImplemented, Err: errors.New("this spool cannot check itself")}
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		lines := json.NewEncoder(w)
		say := func(line adminapi.SpoolCheck) {
			_ = lines.Encode(line) // who has gone ends ctx
			_ = http.NewResponseController(w).Flush()
		}
		read := 0
		messages, octets, err := checker.Check(ctx, func(n int) {
			read = n
			say(adminapi.SpoolCheck{Messages: n})
		}, func(id, problem string) { say(adminapi.SpoolCheck{Messages: read, ID: id, Problem: problem}) })
		end := adminapi.SpoolCheck{Messages: messages, Octets: octets, Done: err == nil}
		if err != nil {
			end.Error = err.Error()
		}
		say(end)
		return struct{}{}, nil
	})
	return err
}
