package admin

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// serveLanes answers GET /msa/lanes.
func serveLanes(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func(ctx context.Context, p *Part) (*adminapi.Lanes, error) {
		all, err := p.Queue.Lanes(ctx)
		if all == nil {
			all = []queue.Lane{}
		}
		return &adminapi.Lanes{Lanes: all}, err
	})
}

// laneActions by name.
var laneActions = map[string]func(ctx context.Context, q *queue.Queue, a *adminapi.LaneAction) error{
	"pause": func(ctx context.Context, q *queue.Queue, a *adminapi.LaneAction) error {
		return q.Pause(ctx, a.Lane, a.Reason)
	},
	"resume": func(ctx context.Context, q *queue.Queue, a *adminapi.LaneAction) error { return q.Resume(ctx, a.Lane) },
	"probe":  func(ctx context.Context, q *queue.Queue, a *adminapi.LaneAction) error { return q.Probe(ctx, a.Lane) },
}

// serveLaneAction answers POST /msa/lane-actions/<action>.
func serveLaneAction(name string) caddy.AdminHandlerFunc {
	return post(func(ctx context.Context, p *Part, a *adminapi.LaneAction) (struct{}, error) {
		err := laneActions[name](ctx, p.Queue, a)
		p.Log.Info("lane action", zap.String("action", name), zap.String("lane", a.Lane), zap.String("reason", a.Reason), zap.Error(err))
		if err != nil {
			err = caddy.APIError{HTTPStatus: http.StatusConflict, Err: err}
		}
		return struct{}{}, err
	})
}
