package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// action changes an entry, or deletes it by returning nil.
type action func(app *App, a *adminapi.QueueAction, e *queue.Entry, now time.Time) (*queue.Entry, error)

// queueActions by name.
var queueActions = map[string]action{
	"hold":    hold,
	"release": release,
	"retry":   retry,
	"reroute": reroute,
	"bounce":  bounceNow,
	"delete":  func(*App, *adminapi.QueueAction, *queue.Entry, time.Time) (*queue.Entry, error) { return nil, nil },
}

// hold keeps the message until it is released.
func hold(_ *App, a *adminapi.QueueAction, e *queue.Entry, now time.Time) (*queue.Entry, error) {
	if e.Held != "" {
		return nil, fmt.Errorf("it is held already: %s", e.Held)
	}
	if !e.Dead.IsZero() {
		return nil, errors.New("it is a dead letter: nothing is tried any more")
	}
	if e.Held = a.Reason; e.Held == "" {
		e.Held = "held by the operator"
	}
	e.Note(now, "held", a.Reason)
	return e, nil
}

// release has a held message delivered now.
func release(_ *App, a *adminapi.QueueAction, e *queue.Entry, now time.Time) (*queue.Entry, error) {
	if e.Held == "" {
		return nil, errors.New("it is not held")
	}
	e.Held = ""
	e.Note(now, "released", a.Reason)
	due(e, now)
	return e, nil
}

// retry has a message delivered now, a dead letter included, whose time begins anew.
func retry(_ *App, a *adminapi.QueueAction, e *queue.Entry, now time.Time) (*queue.Entry, error) {
	if e.Held != "" {
		return nil, errors.New("it is held: release it")
	}
	if !e.Dead.IsZero() {
		e.Dead, e.Since, e.GivenUp = time.Time{}, now, ""
		for i := range e.Recipients {
			if r := &e.Recipients[i]; r.State == queue.Failed {
				r.State, r.Attempts, r.Warned = queue.Pending, 0, false
			}
		}
	}
	e.Note(now, "retried", a.Reason)
	due(e, now)
	return e, nil
}

// due has all that is pending tried now.
func due(e *queue.Entry, now time.Time) {
	e.Next = now
	for i := range e.Recipients {
		e.Recipients[i].Next = time.Time{}
	}
}

// reroute gives a message to the routes of another server.
func reroute(app *App, a *adminapi.QueueAction, e *queue.Entry, now time.Time) (*queue.Entry, error) {
	if app.Servers[a.Server] == nil {
		return nil, fmt.Errorf("there is no server %q in the configuration", a.Server)
	}
	if !e.Dead.IsZero() {
		return nil, errors.New("it is a dead letter: retry it first")
	}
	e.Note(now, "rerouted", fmt.Sprintf("from %s to %s %s", e.Server, a.Server, a.Reason))
	e.Server = a.Server
	due(e, now)
	return e, nil
}

// bounceNow gives up what is pending and tells the sender.
func bounceNow(_ *App, a *adminapi.QueueAction, e *queue.Entry, now time.Time) (*queue.Entry, error) {
	if !e.Dead.IsZero() {
		return nil, errors.New("it is a dead letter: its sender was told")
	}
	if e.GivenUp = a.Reason; e.GivenUp == "" {
		e.GivenUp = "Delivery was given up by the postmaster"
	}
	e.Held = ""
	e.Note(now, "given up", a.Reason)
	due(e, now)
	return e, nil
}

// maxActions bounds what one request changes.
const maxActions = 1000

// act carries out an action on each message and logs it.
func act(ctx context.Context, app *App, name string, a *adminapi.QueueAction) (*adminapi.QueueActionAnswer, error) {
	if len(a.IDs) == 0 || len(a.IDs) > maxActions {
		return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("ids: name 1 to %d messages", maxActions)}
	}
	if name == "retry" || name == "release" {
		app.delivery.store.queue.ProbeNow()
	}
	answer := &adminapi.QueueActionAnswer{Done: []string{}}
	for _, id := range a.IDs {
		if err := ctx.Err(); err != nil {
			return answer, err
		}
		err := actOn(ctx, app, queueActions[name], a, id)
		app.log.Info("queue action", zap.String("action", name), zap.String(fieldQueueID, id), zap.String("reason", a.Reason), zap.Error(err))
		if err == nil {
			answer.Done = append(answer.Done, id)
			continue
		}
		if answer.Failed == nil {
			answer.Failed = make(map[string]string)
		}
		answer.Failed[id] = err.Error()
	}
	return answer, nil
}

func actOn(ctx context.Context, app *App, change action, a *adminapi.QueueAction, id string) error {
	var refused error
	err := app.delivery.store.spool.Update(ctx, id, func(e *queue.Entry) *queue.Entry {
		var changed *queue.Entry
		unchanged := *e
		if changed, refused = change(app, a, e, time.Now()); refused != nil {
			return &unchanged
		}
		return changed
	})
	var api caddy.APIError
	if err = apiError(id, err); errors.As(err, &api) {
		err = api.Err
	}
	return errors.Join(refused, err)
}

// serveAction answers POST /msa/queue-actions/<action>.
func serveAction(name string) caddy.AdminHandlerFunc {
	return post(func(ctx context.Context, app *App, a *adminapi.QueueAction) (*adminapi.QueueActionAnswer, error) {
		return act(ctx, app, name, a)
	})
}
