package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What a page costs at most, however few entries a filter lets through.
const (
	defaultPage = 100
	maxPage     = 1000
	// maxScan is for how long a page looks for messages, once it has looked at as many as it could
	// list; who wants more asks for the next page.
	maxScan = 3 * time.Millisecond
)

// queueList answers GET /msa/queue, a page of what matches the filter in the order of ids,
// which is that of acceptance: ?after=<id>&limit=<n> and the filter's words.
func queueList(ctx context.Context, app *App, q url.Values) (*adminapi.QueuePage, error) {
	f, err := parseFilter(q)
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	limit := defaultPage
	if s := q.Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxPage {
			return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("limit: %q is not a number from 1 to %d", s, maxPage)}
		}
	}
	page, last, looked := &adminapi.QueuePage{Entries: []*adminapi.Message{}}, "", 0
	s := app.delivery.store
	until := time.Now().Add(maxScan)
	err = s.spool.List(ctx, q.Get("after"), func(m *queue.Message) bool {
		if len(page.Entries) == limit || looked >= limit && time.Now().After(until) {
			page.Next = last
			return false
		}
		looked++
		last = m.Entry.ID
		if f.match(m) {
			page.Entries = append(page.Entries, adminapi.Describe(m, s.queue.Why))
		}
		return true
	})
	return page, err
}

// queueFilter says which entries are meant. Its zero value means all.
type queueFilter struct {
	user, sender, recipient, server, state, cause, lane string
	older, newer                                        time.Time
}

// parseFilter reads the words of a filter: user and server (both whole, the user in any case), sender, recipient and error (parts,
// whose case does not matter), state (queued, held, dead), older and newer (than a duration).
func parseFilter(q url.Values) (*queueFilter, error) {
	f := &queueFilter{user: q.Get("user"), server: q.Get("server"), state: q.Get("state"),
		sender: strings.ToLower(q.Get("sender")), recipient: strings.ToLower(q.Get("recipient")), cause: strings.ToLower(q.Get("error")), lane: q.Get("lane")}
	switch f.state {
	case "", adminapi.StateQueued, adminapi.StateHeld, adminapi.StateDead:
	default:
		return nil, fmt.Errorf("state: %q is not a state; use queued, held or dead", f.state)
	}
	for name := range q {
		switch name {
		case "user", "server", "state", "sender", "recipient", "error", "lane", "after", "limit":
		case "older", "newer":
			age, err := conf.ParseDuration(q.Get(name))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			at := time.Now().Add(-age)
			if name == "older" {
				f.older = at
			} else {
				f.newer = at
			}
		default:
			return nil, fmt.Errorf("unknown filter %q; there are user, server, state, sender, recipient, error, lane, older and newer", name)
		}
	}
	return f, nil
}

func (f *queueFilter) match(m *queue.Message) bool {
	e := m.Entry
	return (f.user == "" || names.Same(e.User, f.user)) && (f.server == "" || m.Server() == f.server) && (f.state == "" || adminapi.EntryState(m) == f.state) &&
		(f.sender == "" || strings.Contains(strings.ToLower(e.Sender), f.sender)) &&
		(f.older.IsZero() || e.Accepted.Before(f.older)) && (f.newer.IsZero() || e.Accepted.After(f.newer)) &&
		(f.lane == "" || slices.ContainsFunc(m.Jobs, func(j queue.Job) bool { return j.Pending() && j.Lane == f.lane })) &&
		(f.recipient == "" || slices.ContainsFunc(e.Recipients, func(r queue.Recipient) bool { return strings.Contains(strings.ToLower(r.Address), f.recipient) })) &&
		(f.cause == "" || slices.ContainsFunc(m.Recipients(), func(r queue.Recipient) bool { return strings.Contains(strings.ToLower(r.Error), f.cause) }))
}

// queueShow answers GET /msa/queue/<id>.
func queueShow(ctx context.Context, app *App, id string) (*adminapi.Message, error) {
	m, err := app.delivery.store.spool.Get(ctx, id)
	if err != nil {
		return nil, apiError(id, err)
	}
	return adminapi.Describe(m, app.delivery.store.queue.Why), nil
}

// apiError gives what a spool says of an entry its HTTP status.
func apiError(id string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, queue.ErrNotFound):
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is no message %s in the queue: it was delivered or deleted, or never accepted", id)}
	}
	return fmt.Errorf("message %s: %w", id, err)
}

// serveQueue answers what reads the queue.
func serveQueue(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use GET, and POST /msa/queue-actions/ to change something")}
	}
	id, rest, _ := strings.Cut(strings.Trim(strings.TrimPrefix(r.URL.Path, "/msa/queue"), "/"), "/")
	switch {
	case id == "":
		return answerJSON(w, r, func(ctx context.Context, app *App) (*adminapi.QueuePage, error) {
			return queueList(ctx, app, r.URL.Query())
		})
	case rest == "":
		return answerJSON(w, r, func(ctx context.Context, app *App) (*adminapi.Message, error) { return queueShow(ctx, app, id) })
	}
	return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("there are /msa/queue and /msa/queue/<id>")}
}

func answerJSON[A any](w http.ResponseWriter, r *http.Request, ask func(context.Context, *App) (A, error)) error {
	answer, err := withApp(r.Context(), ask)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}

// serveMessage answers GET /msa/queue-content/<id>: the message itself, where the configuration
// allows it. Each reading is logged.
func serveMessage(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use GET")}
	}
	id := strings.TrimPrefix(r.URL.Path, "/msa/queue-content/")
	message, err := withApp(r.Context(), func(ctx context.Context, app *App) (io.ReadSeekCloser, error) {
		if !app.Queue.ShowContent {
			return nil, caddy.APIError{HTTPStatus: http.StatusForbidden, Err: errors.New("the content of messages is not shown: show_content is not set in the configuration's queue")}
		}
		opener, ok := app.delivery.store.spool.(queue.MessageOpener)
		if !ok {
			return nil, caddy.APIError{HTTPStatus: http.StatusNotImplemented, Err: errors.New("this spool cannot show messages")}
		}
		m, err := opener.OpenMessage(ctx, id)
		app.log.Warn("content of a message read by an administrator", zap.String(fieldQueueID, id), zap.String("admin", r.RemoteAddr), zap.Error(err))
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
