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

var errNoChecker = errors.New("this spool cannot check itself")

// serveSpoolCheck reads all that is in the spool, and in those of former configurations, and answers a line of JSON at a time.
func serveSpoolCheck(w http.ResponseWriter, r *http.Request) error {
	_, err := withApp(r.Context(), func(ctx context.Context, p *Part) (struct{}, error) {
		if _, ok := p.Spool.(queue.Checker); !ok && len(p.Former) == 0 {
			return struct{}{}, caddy.APIError{HTTPStatus: http.StatusNotImplemented, Err: errNoChecker}
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		lines := json.NewEncoder(w)
		say := func(line adminapi.SpoolCheck) {
			_ = lines.Encode(line) // who has gone ends ctx
			_ = http.NewResponseController(w).Flush()
		}
		for i, s := range p.all() {
			of := ""
			if i > 0 {
				of = s.Key
			}
			s.check(ctx, func(line adminapi.SpoolCheck) {
				line.Spool = of
				say(line)
			})
		}
		return struct{}{}, nil
	})
	return err
}

// check reads one spool.
func (s Store) check(ctx context.Context, say func(adminapi.SpoolCheck)) {
	checker, ok := s.Spool.(queue.Checker)
	if !ok {
		say(adminapi.SpoolCheck{Error: errNoChecker.Error()})
		return
	}
	read := 0
	messages, octets, err := checker.Check(ctx, func(n int) {
		read = n
		say(adminapi.SpoolCheck{Messages: n})
	}, func(id, problem string) { say(adminapi.SpoolCheck{Messages: read, ID: id, Problem: problem}) })
	if errors.Is(err, queue.ErrClosed) { // it was a former one, and is empty since
		messages, octets, err = 0, 0, nil
	}
	end := adminapi.SpoolCheck{Messages: messages, Octets: octets, Done: err == nil}
	if err != nil {
		end.Error = err.Error()
	}
	say(end)
}
