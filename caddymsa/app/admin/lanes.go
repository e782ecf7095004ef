package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// serveLanes answers GET /msa/lanes.
func serveLanes(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func(ctx context.Context, p *Part) (*adminapi.Lanes, error) {
		answer := &adminapi.Lanes{Lanes: []adminapi.Lane{}}
		for i, s := range p.all() {
			lanes, err := s.Queue.Lanes(ctx)
			if i > 0 && errors.Is(err, queue.ErrClosed) {
				continue // it is empty since
			}
			if err != nil {
				return nil, err
			}
			for _, l := range lanes {
				lane := adminapi.Lane{Lane: l}
				if i > 0 {
					lane.Spool = s.Key
				}
				answer.Lanes = append(answer.Lanes, lane)
			}
		}
		slices.SortStableFunc(answer.Lanes, func(a, b adminapi.Lane) int { return cmp.Compare(a.Name, b.Name) })
		return answer, nil
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

// steerLane carries out an action on the lane in every spool that has it: they lead to the same place.
// That some do not have it, or have it as it is to be, is no failure where another has done what was asked.
func steerLane(ctx context.Context, p *Part, name string, a *adminapi.LaneAction) error {
	var failed []error
	done, broken := false, false
	for i, s := range p.all() {
		err := laneActions[name](ctx, s.Queue, a)
		switch {
		case err == nil:
			done = true
		case i > 0 && errors.Is(err, queue.ErrClosed): // it is empty since
		case !errors.Is(err, queue.ErrNoLane) && !errors.Is(err, queue.ErrNotPaused) && !errors.Is(err, queue.ErrPaused):
			broken = true
			fallthrough
		default:
			failed = append(failed, err)
		}
	}
	switch {
	case broken:
		return errors.Join(failed...)
	case !done: // each said much the same
		return failed[0]
	}
	return nil
}

// serveLaneAction answers POST /msa/lane-actions/<action>.
func serveLaneAction(name string) caddy.AdminHandlerFunc {
	return post(func(ctx context.Context, p *Part, a *adminapi.LaneAction) (adminapi.LaneSteered, error) {
		if a.Lane == "" {
			return adminapi.LaneSteered{}, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf(`%w, as in {"lane": "relay/smtp.example.net:587"}; GET /msa/lanes lists them`, queue.ErrUnnamed)}
		}
		err := steerLane(ctx, p, name, a)
		p.Log.Info("lane action", zap.String("action", name), zap.String("lane", a.Lane), zap.String("by", OperatorOf(ctx)), zap.String("reason", a.Reason), zap.Error(err))
		if err != nil {
			return adminapi.LaneSteered{}, caddy.APIError{HTTPStatus: http.StatusConflict, Err: err}
		}
		p.noteAlone(ctx, journal.Fact{What: laneFacts[name], Text: because(a.Lane, a.Reason), Visit: &journal.Visit{Lane: a.Lane}})
		return adminapi.LaneSteered{Lane: a.Lane}, nil
	})
}

// laneFacts are what the journal says of actions.
var laneFacts = map[string]journal.Kind{"pause": journal.Paused, "resume": journal.Resumed, "probe": journal.Probed}
