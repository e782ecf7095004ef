// Package admin is the app's part of Caddy's admin API. It sees of the app what app.go names.
package admin

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
	caddy.RegisterModule(API{})
}

// API is the module admin.api.msa, the app's part of Caddy's admin API. What changes or proves something is under
// paths of its own, so that a remote administrator can be given less:
//
//	POST /msa/reload/auth   reads the data of all auth backends again
//	POST /msa/auth/test     says which backend accepts a user
//	GET  /msa/users         lists the users of the backends that keep them here; /msa/users/<name> shows one
//	POST /msa/user-actions/<action>    disable, enable, delete, rename, add-app-password or revoke-app-password
//	GET  /msa/quota/<user>  says what limits leave a user: ?server=&ip=
//	GET  /msa/queue         lists the queue: ?after=&limit= and a filter
//	GET  /msa/queue/<id>    shows a message's envelope, state and history
//	GET  /msa/queue-content/<id>       the message, where show_content is set
//	POST /msa/queue-actions/<action>   hold, release, retry, reroute, bounce or delete
//	GET  /msa/history                  tells what became of messages: a page of the journal's facts, the latest first
//	GET  /msa/journal/stat             says how much each journal keeps
//	POST /msa/journal-actions/purge    takes an address out of the journals
//	GET  /msa/lanes                    lists the lanes, with what waits there and why
//	GET  /msa/notify                   says how far others were told what became of messages
//	POST /msa/lane-actions/<action>    pause, resume or probe
//	GET  /msa/dns                      says what records in DNS are made of
//	GET  /msa/now                      says how it goes: rates, spools, certificates
//	GET  /msa/servers                  tells the configuration in force, without its secrets
//	POST /msa/try/message              submits a test message, and says what both sides said
//	GET  /msa/guesses                  says who was refused lately, and who is blocked
//	POST /msa/guess-actions/lift       lifts a block
//	GET  /msa/health                   says whether messages can be accepted, and why not
//	GET  /msa/spool/check              reads the whole spool, and says what is not whole
//	POST /msa/doctor                   says what is wrong, and what to do about it
//	POST /msa/spool/move               takes messages from one spool to another
//
// There are no passwords in what it answers, but for an application password that it has just made.
type API struct{}

// CaddyModule returns the Caddy module information.
func (API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.msa", New: func() caddy.Module { return new(API) }}
}

// Routes implements caddy.AdminRouter.
func (API) Routes() []caddy.AdminRoute {
	routes := []caddy.AdminRoute{
		{Pattern: "/msa/reload/auth", Handler: post(reloadAuth)},
		{Pattern: "/msa/auth/test", Handler: post(testAuth)},
		{Pattern: "/msa/doctor", Handler: post(examine)},
		{Pattern: "/msa/users", Handler: get(serveUsers)},
		{Pattern: "/msa/users/", Handler: get(serveUsers)},
		{Pattern: "/msa/quota/", Handler: get(serveQuota)},
		{Pattern: "/msa/queue", Handler: get(serveQueue)},
		{Pattern: "/msa/queue/", Handler: get(serveQueue)},
		{Pattern: "/msa/history", Handler: get(serveHistory)},
		{Pattern: "/msa/journal/stat", Handler: get(serveJournalStat)},
		{Pattern: "/msa/journal-actions/purge", Handler: post(purgeJournals)},
		{Pattern: "/msa/lanes", Handler: get(serveLanes)},
		{Pattern: "/msa/notify", Handler: get(serveNotify)},
		{Pattern: "/msa/dns", Handler: get(serveDNS)},
		{Pattern: "/msa/try/message", Handler: post(tryMessage)},
		{Pattern: "/msa/servers", Handler: get(serveServers)},
		{Pattern: "/msa/now", Handler: get(serveNow)},
		{Pattern: "/msa/guesses", Handler: get(serveGuesses)},
		{Pattern: "/msa/guess-actions/lift", Handler: post(liftBlock)},
		{Pattern: "/msa/spool/check", Handler: get(serveSpoolCheck)},
		{Pattern: "/msa/health", Handler: caddy.AdminHandlerFunc(serveHealth)},
		{Pattern: "/msa/spool/move", Handler: caddy.AdminHandlerFunc(serveSpoolMove)},
		{Pattern: "/msa/queue-content/", Handler: get(serveMessage)},
	}
	for name := range userActions {
		routes = append(routes, caddy.AdminRoute{Pattern: "/msa/user-actions/" + name, Handler: changeUser(name)})
	}
	for name := range laneActions {
		routes = append(routes, caddy.AdminRoute{Pattern: "/msa/lane-actions/" + name, Handler: serveLaneAction(name)})
	}
	for name := range queueActions {
		routes = append(routes, caddy.AdminRoute{Pattern: "/msa/queue-actions/" + name, Handler: serveAction(name)})
	}
	return routes
}

// get calls handle for what only reads.
func get(handle caddy.AdminHandlerFunc) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet {
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use GET, and POST /msa/queue-actions/, /msa/lane-actions/ or /msa/journal-actions/ to change something")}
		}
		return handle(w, r)
	}
}

// post calls handle with the app in charge at this moment: the router may be of a
// configuration that failed. What handle returns is the answer, as JSON. The request is
// read before, since nobody's pause may hold up a reload.
func post[Q, A any](handle func(ctx context.Context, p *Part, request *Q) (A, error)) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodPost {
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use POST")}
		}
		request := new(Q)
		if err := readJSON(r.Body, request); err != nil {
			return err
		}
		answer, err := withApp(WithOperator(r.Context(), operatorOf(r)), func(ctx context.Context, p *Part) (A, error) { return handle(ctx, p, request) })
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(answer)
	}
}

// maxAdminBody bounds what is read of a request.
const maxAdminBody = 64 << 10

// readJSON leaves into as it is when there is no body.
func readJSON(body io.Reader, into any) error {
	d := json.NewDecoder(io.LimitReader(body, maxAdminBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); !errors.Is(err, io.EOF) {
			err = errors.New("there is more behind its end")
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("the JSON of the request cannot be read: %w", err)}
	}
	return nil
}

// Interface guard
var _ caddy.AdminRouter = API{}
