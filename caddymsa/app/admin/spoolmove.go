package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// tellMoved is how often the answer says how many messages were moved.
const tellMoved = time.Second

// serveSpoolMove takes messages from one spool to another, and answers a line of JSON at a time.
func serveSpoolMove(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use POST")}
	}
	request := new(adminapi.SpoolMove)
	if err := readJSON(r.Body, request); err != nil {
		return err
	}
	_, err := withApp(r.Context(), func(ctx context.Context, p *Part) (struct{}, error) {
		from, leave, err := p.place(ctx, request.From, true)
		if err != nil {
			return struct{}{}, err
		}
		defer leave()
		to, leave, err := p.place(ctx, request.To, false)
		if err != nil {
			return struct{}{}, err
		}
		defer leave()
		w.Header().Set("Content-Type", "application/x-ndjson")
		lines := json.NewEncoder(w)
		say := func(line adminapi.SpoolMoved) {
			_ = lines.Encode(line) // who has gone ends ctx
			_ = http.NewResponseController(w).Flush()
		}
		moved, said := 0, time.Now()
		move := queue.Move
		if request.Cancel {
			move = queue.CancelMove
		}
		err = move(ctx, from, to, func(id string, err error) {
			if err != nil {
				say(adminapi.SpoolMoved{Messages: moved, ID: id, Problem: err.Error()})
				return
			}
			if moved++; time.Since(said) > tellMoved {
				said = time.Now()
				say(adminapi.SpoolMoved{Messages: moved})
			}
		})
		p.Queue.Wake()
		end := adminapi.SpoolMoved{Messages: moved, Done: err == nil}
		if err != nil {
			end.Error = err.Error()
		}
		p.Log.Info("spool move", zap.String("from", from.Name), zap.String("to", to.Name), zap.Bool("cancel", request.Cancel), zap.Int("messages", moved), zap.Error(err))
		if moved > 0 && !request.Cancel && !slices.ContainsFunc(p.all(), func(s Store) bool { return s.Key == to.Name }) {
			end.Note = "no server has the spool " + to.Name + ": what was moved waits there until a configuration names it"
			p.Log.Warn(end.Note)
		}
		say(end)
		return struct{}{}, nil
	})
	return err
}

// place opens a spool by its name.
func (p *Part) place(ctx context.Context, name string, existing bool) (queue.Place, func(), error) {
	key, spool, leave, err := p.OpenSpool(ctx, name, existing)
	if err != nil {
		return queue.Place{}, nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("spool %s: %w", name, err)}
	}
	return queue.Place{Name: key, Spool: spool}, leave, nil
}
