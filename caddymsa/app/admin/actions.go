package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// request is what an operator wants done.
type request struct {
	*adminapi.QueueAction
	by string // the operator
}

// action changes a message.
type action func(p *Part, a *request, m *queue.EntryView, now time.Time) error

// queueActions by name. Nil deletes.
var queueActions = map[string]action{
	"hold":    hold,
	"release": release,
	"retry":   retry,
	"reroute": reroute,
	"bounce":  bounceNow,
	"delete":  nil,
}

// hold keeps the message until it is released.
func hold(_ *Part, a *request, m *queue.EntryView, now time.Time) error {
	if m.Status.Held != "" {
		return fmt.Errorf("it is held already: %s", m.Status.Held)
	}
	if m.DeadLetter() {
		return errors.New("it is a dead letter: nothing is tried any more")
	}
	if m.Status.Held = a.Reason; m.Status.Held == "" {
		m.Status.Held = "held by the operator"
	}
	m.Status.Note(now, "held", a.Reason)
	note(m, journal.Held, now, a.by, m.Status.Held)
	return nil
}

// release has a held message delivered now.
func release(_ *Part, a *request, m *queue.EntryView, now time.Time) error {
	if m.Status.Held == "" {
		return errors.New("it is not held")
	}
	m.Status.Held = ""
	m.Status.Note(now, "released", a.Reason)
	note(m, journal.Released, now, a.by, a.Reason)
	due(m, now)
	return nil
}

// retry has a message delivered now, a dead letter included, whose time begins anew.
func retry(_ *Part, a *request, m *queue.EntryView, now time.Time) error {
	if m.Status.Held != "" {
		return errors.New("it is held: release it")
	}
	if m.DeadLetter() || !m.Status.Dead.IsZero() && m.OnlyCopies() {
		m.Status.Dead, m.Status.Since, m.Status.GivenUp, m.Status.GivenUpBy, m.Status.GivenUpAt = time.Time{}, now, "", "", time.Time{}
		for i := range m.Jobs {
			revive(&m.Jobs[i])
		}
	}
	m.Status.Note(now, "retried", a.Reason)
	note(m, journal.Retried, now, a.by, a.Reason)
	due(m, now)
	return nil
}

// revive has recipients that failed be tried again.
func revive(j *queue.Job) {
	for i := range j.Recipients {
		if r := &j.Recipients[i]; r.State == queue.Failed {
			r.State = queue.Pending
			j.Attempts, j.Warned, j.Last, j.Deadline = 0, false, false, time.Time{}
		}
	}
}

// due has all that is pending tried now.
func due(m *queue.EntryView, now time.Time) {
	m.Status.Asked = now
	for i := range m.Jobs {
		if m.Jobs[i].Pending() {
			m.Jobs[i].Due = now
		}
	}
}

// reroute gives a message to the routes of another server.
func reroute(p *Part, a *request, m *queue.EntryView, now time.Time) error {
	to := p.server(a.Server)
	if to == nil {
		return fmt.Errorf("there is no server %q in the configuration", a.Server)
	}
	if m.DeadLetter() {
		return errors.New("it is a dead letter: retry it first")
	}
	if m.OnlyCopies() {
		return errors.New("only copies of it are left, which are those of the server that accepted it")
	}
	m.Status.Note(now, "rerouted", fmt.Sprintf("from %s to %s %s", m.Server(), to.Name, a.Reason))
	note(m, journal.Rerouted, now, a.by, strings.TrimSpace(to.Name+" "+a.Reason))
	m.Status.Rerouted = to.Name
	for i := range m.Jobs {
		if j := &m.Jobs[i]; j.Pending() && j.Copy == "" {
			j.Lane, j.Stamp = "", ""
		}
	}
	due(m, now)
	return nil
}

// bounceNow gives up what is pending and tells the sender.
func bounceNow(_ *Part, a *request, m *queue.EntryView, now time.Time) error {
	if m.DeadLetter() {
		return errors.New("it is a dead letter: its sender was told")
	}
	if m.OnlyCopies() {
		return errors.New("only copies of it are left, of which no sender is told")
	}
	if m.Status.GivenUp = a.Reason; m.Status.GivenUp == "" {
		m.Status.GivenUp = "Delivery was given up by the postmaster"
	}
	m.Status.GivenUpAt, m.Status.GivenUpBy, m.Status.Held = now, a.by, ""
	m.Status.Note(now, "given up", a.Reason)
	due(m, now)
	for i := range m.Jobs { // whatever their lanes say
		if m.Jobs[i].Copy == "" {
			m.Jobs[i].Deadline = now
		}
	}
	return nil
}

// maxActions bounds what one request changes.
const maxActions = 1000

// act carries out an action on each message and logs it.
func act(ctx context.Context, p *Part, name string, action *adminapi.QueueAction) (*adminapi.QueueActionAnswer, error) {
	a := &request{action, OperatorOf(ctx)}
	if len(a.IDs) == 0 || len(a.IDs) > maxActions {
		return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("ids: name 1 to %d messages", maxActions)}
	}
	if name == "retry" || name == "release" {
		for _, s := range p.all() {
			s.Queue.ProbeNow()
		}
	}
	answer := &adminapi.QueueActionAnswer{Done: []string{}}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(a.IDs))) { // each once
		if err := ctx.Err(); err != nil {
			return answer, err
		}
		inFlight, err := actOn(ctx, p, queueActions[name], a, id)
		p.Log.Info("queue action", zap.String("action", name), zap.String("queue_id", id), zap.String("by", a.by), zap.String("reason", a.Reason), zap.Error(err))
		if err == nil {
			answer.Done = append(answer.Done, id)
			if inFlight > 0 {
				if answer.InFlight == nil {
					answer.InFlight = make(map[string]int)
				}
				answer.InFlight[id] = inFlight
			}
			continue
		}
		if answer.Failed == nil {
			answer.Failed = make(map[string]string)
		}
		answer.Failed[id] = err.Error()
	}
	return answer, nil
}

func actOn(ctx context.Context, p *Part, change action, a *request, id string) (inFlight int, err error) {
	spool := p.having(ctx, id).Spool
	if change == nil {
		m, unread := spool.Get(ctx, id) // what is damaged can be deleted all the same
		if unread == nil {
			err = notMoving(m)
		}
		if err == nil {
			inFlight, err = spool.Delete(ctx, id, deleted(m, id, time.Now(), a))
		}
	} else {
		var held *queue.EntryView
		inFlight, err = spool.Change(ctx, id, func(m *queue.EntryView) error {
			held = nil
			was := m.Status.Held
			if err := notMoving(m); err != nil {
				return err
			}
			if err := change(p, a, m, time.Now()); err != nil {
				return &refusedAction{err}
			}
			if m.Status.Held != "" && was == "" {
				held = m
			}
			return nil
		})
		if err == nil && held != nil {
			p.Held(held.Entry, held.Status.Held, a.by)
		}
	}
	if refused, ok := errors.AsType[*refusedAction](err); ok {
		return 0, refused.error
	}
	if api, ok := errors.AsType[caddy.APIError](apiError(id, err)); ok {
		return 0, api.Err
	}
	return inFlight, apiError(id, err)
}

// notMoving refuses what is on its way to another spool: there are two of it at this moment.
func notMoving(m *queue.EntryView) error {
	if m.Status.Moving != "" {
		return &refusedAction{errors.New("it " + m.Status.Held + "; wait for the end of `caddy msa spool move`, run it again if it was broken off, or end it with --cancel")}
	}
	return nil
}

// refusedAction is why an action makes no sense with a message.
type refusedAction struct{ error }

// serveAction answers POST /msa/queue-actions/<action>.
func serveAction(name string) caddy.AdminHandlerFunc {
	return post(func(ctx context.Context, p *Part, a *adminapi.QueueAction) (*adminapi.QueueActionAnswer, error) {
		return act(ctx, p, name, a)
	})
}
