package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(AdminAPI{})
}

// AdminAPI is the app's part of Caddy's admin API. What changes or proves something is under
// paths of its own, so that a remote administrator can be given less:
//
//	POST /msa/reload/auth   reads the data of all auth backends again
//	POST /msa/auth/test     says which backend accepts a user
//	GET  /msa/queue         lists the queue: ?after=&limit= and a filter
//	GET  /msa/queue/<id>    shows a message's envelope, state and history
//	GET  /msa/queue-content/<id>       the message, where show_content is set
//	POST /msa/queue-actions/<action>   hold, release, retry, reroute, bounce or delete
//	GET  /msa/lanes                    lists the lanes, with what waits there and why
//	POST /msa/lane-actions/<action>    pause, resume or probe
//	GET  /msa/spool/check              reads the whole spool, and says what is not whole
//
// There are no passwords in what it answers.
type AdminAPI struct{}

// CaddyModule returns the Caddy module information.
func (AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.msa", New: func() caddy.Module { return new(AdminAPI) }}
}

// Routes implements caddy.AdminRouter.
func (AdminAPI) Routes() []caddy.AdminRoute {
	routes := []caddy.AdminRoute{
		{Pattern: "/msa/reload/auth", Handler: post(reloadAuth)},
		{Pattern: "/msa/auth/test", Handler: post(testAuth)},
		{Pattern: "/msa/queue", Handler: caddy.AdminHandlerFunc(serveQueue)},
		{Pattern: "/msa/queue/", Handler: caddy.AdminHandlerFunc(serveQueue)},
		{Pattern: "/msa/spool/check", Handler: caddy.AdminHandlerFunc(serveSpoolCheck)},
		{Pattern: "/msa/queue-content/", Handler: caddy.AdminHandlerFunc(serveMessage)},
	}
	routes = append(routes, caddy.AdminRoute{Pattern: "/msa/lanes", Handler: caddy.AdminHandlerFunc(serveLanes)})
	for name := range laneActions {
		routes = append(routes, caddy.AdminRoute{Pattern: "/msa/lane-actions/" + name, Handler: serveLaneAction(name)})
	}
	for name := range queueActions {
		routes = append(routes, caddy.AdminRoute{Pattern: "/msa/queue-actions/" + name, Handler: serveAction(name)})
	}
	return routes
}

// post calls handle with the app in charge at this moment: the router may be of a
// configuration that failed. What handle returns is the answer, as JSON. The request is
// read before, since nobody's pause may hold up a reload.
func post[Q, A any](handle func(ctx context.Context, app *App, request *Q) (A, error)) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodPost {
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use POST")}
		}
		request := new(Q)
		if err := readJSON(r.Body, request); err != nil {
			return err
		}
		answer, err := withApp(r.Context(), func(ctx context.Context, app *App) (A, error) { return handle(ctx, app, request) })
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(answer)
	}
}

// withApp calls f with the app in charge, whose modules stay until f returns.
func withApp[A any](ctx context.Context, f func(context.Context, *App) (A, error)) (answer A, err error) {
	v, err := caddy.ActiveContext().AppIfConfigured("msa")
	if err != nil {
		return answer, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is no msa app in the configuration: %w", err)}
	}
	app := v.(*App)
	ctx, leave, ok := app.generation.enter(ctx)
	if !ok {
		return answer, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("the configuration is being replaced, try again")}
	}
	defer leave()
	return f(ctx, app)
}

// maxAdminBody bounds what is read of a request.
const maxAdminBody = 64 << 10

// readJSON leaves into as it is when there is no body.
func readJSON(body io.Reader, into any) error {
	d := json.NewDecoder(io.LimitReader(body, maxAdminBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("the JSON of the request cannot be read: %w", err)}
	}
	return nil
}

// Interface guard
var _ caddy.AdminRouter = AdminAPI{}
