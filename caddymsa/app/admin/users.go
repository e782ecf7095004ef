package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// maxUsers is the most users of a page.
const maxUsers = 200

// serveUsers lists users, or shows one.
func serveUsers(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"server", "backend", "after", "limit"}, name) {
			return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("unknown parameter %q; there are server, backend, after and limit", name)}
		}
	}
	name, one := strings.CutPrefix(r.URL.EscapedPath(), "/msa/users/")
	answer, err := withApp(r.Context(), func(ctx context.Context, p *Part) (any, error) {
		if one {
			name, err := url.PathUnescape(name)
			if err == nil && strings.TrimSpace(name) == "" { // the list would be taken for a user
				err = errors.New("a name is required: /msa/users/<name>")
			}
			if err != nil {
				return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
			}
			return p.showUser(ctx, name, q.Get("server"), q.Get("backend"))
		}
		return p.listUsers(ctx, q)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}

func (p *Part) listUsers(ctx context.Context, q url.Values) (any, error) {
	limit := maxUsers
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxUsers {
			return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("limit: %q is not a number from 1 to %d", text, maxUsers)}
		}
		limit = n
	}
	all, err := p.keepers(q.Get("server"), q.Get("backend"))
	if err != nil {
		return nil, err
	}
	if q.Get("after") != "" && len(all) > 1 {
		return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New("after: name the server and the backend that the page is of")}
	}
	pages := []adminapi.UserPage{}
	for _, k := range all {
		page := adminapi.UserPage{Server: k.server, Backend: k.backend, Users: []passwd.Summary{}}
		asked, cancel := context.WithTimeout(ctx, k.timeout)
		users, err := k.Users(asked, q.Get("after"), limit)
		cancel()
		switch {
		case err != nil:
			page.Error = err.Error()
		case len(users) == limit:
			page.Next = users[limit-1].Name
		}
		page.Users = append(page.Users, users...)
		pages = append(pages, page)
	}
	return pages, nil
}

// showUser finds the first backend that has a user.
func (p *Part) showUser(ctx context.Context, name, server, backend string) (any, error) {
	all, err := p.keepers(server, backend)
	if err != nil {
		return nil, err
	}
	k, u, err := find(ctx, all, name)
	if err != nil {
		return nil, err
	}
	for _, other := range all { // application passwords may be elsewhere
		if other.server == k.server && other.backend != k.backend && isAppKeeper(other) {
			asked, cancel := context.WithTimeout(ctx, other.timeout)
			if more, err := other.User(asked, u.Name); err == nil {
				u.AppPasswords = append(u.AppPasswords, more.AppPasswords...)
			}
			cancel()
		}
	}
	p.lastUsed(ctx, &u)
	return adminapi.User{Server: k.server, Backend: k.backend, Summary: u}, nil
}

const (
	addAppPassword    = "add-app-password"
	revokeAppPassword = "revoke-app-password"
)

// userActions are what can be done with a user.
var userActions = map[string]func(q *adminapi.UserRequest) (passwd.Change, string, error){
	"disable": func(*adminapi.UserRequest) (passwd.Change, string, error) {
		return passwd.Change{Disable: true}, "", nil
	},
	"enable": func(*adminapi.UserRequest) (passwd.Change, string, error) {
		return passwd.Change{Enable: true}, "", nil
	},
	"delete": func(*adminapi.UserRequest) (passwd.Change, string, error) {
		return passwd.Change{Delete: true}, "", nil
	},
	"rename": func(q *adminapi.UserRequest) (passwd.Change, string, error) {
		if q.To == "" {
			return passwd.Change{}, "", errors.New("to: the new name is required")
		}
		return passwd.Change{Rename: q.To}, "", nil
	},
	addAppPassword: func(q *adminapi.UserRequest) (passwd.Change, string, error) {
		app, secret, err := passwd.MakeApp(q.User, q.Label, q.Expires, q.AllowNets, q.Schemes)
		return passwd.Change{AddApp: app}, secret, err
	},
	revokeAppPassword: func(q *adminapi.UserRequest) (passwd.Change, string, error) {
		if q.Label == "" {
			return passwd.Change{}, "", errors.New("label is required")
		}
		return passwd.Change{RevokeApp: q.Label}, "", nil
	},
}

// changeUser makes a change.
func changeUser(action string) caddy.AdminHandlerFunc {
	return post(func(ctx context.Context, p *Part, q *adminapi.UserRequest) (*adminapi.UserChanged, error) {
		if q.User == "" {
			return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New("user: a name is required")}
		}
		k, name, err := p.findToChange(ctx, action, q)
		if err != nil {
			return nil, err
		}
		q.User = name // as it is stored: it is hashed with some secrets
		change, secret, err := userActions[action](q)
		if err != nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
		}
		asked, cancel := context.WithTimeout(ctx, k.timeout)
		defer cancel()
		change.New = change.AddApp != nil && isAppKeeper(k)
		note, err := k.ChangeUser(asked, name, change)
		if err != nil {
			return nil, caddy.APIError{HTTPStatus: changeStatus(err), Err: fmt.Errorf("backend %s: %w", k.backend, err)}
		}
		if change.Rename != "" {
			p.noteAlone(ctx, journal.Fact{What: journal.Renamed, Server: k.server, User: change.Rename, Sender: name})
		}
		p.Log.Info("a user was changed", zap.String("action", action), zap.String("user", name), zap.String("backend", k.backend),
			zap.String("app_password", q.Label), zap.String("to", q.To), zap.String("by", OperatorOf(ctx)))
		return &adminapi.UserChanged{Server: k.server, Backend: k.backend, User: name, Label: q.Label, Secret: secret, Note: note}, nil
	})
}

func changeStatus(err error) int {
	switch {
	case errors.Is(err, caddymsa.ErrUnknownUser), errors.Is(err, passwd.ErrNoApp):
		return http.StatusNotFound
	case errors.Is(err, passwd.ErrRefused):
		return http.StatusConflict
	case errors.Is(err, caddymsa.ErrNotChangeable):
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}
