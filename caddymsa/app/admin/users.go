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
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// keeper is a backend whose users can be listed and changed.
type keeper struct {
	server, backend string
	timeout         time.Duration
	passwd.Keeper
}

// keepers are those that are asked for, in the order in which the servers ask them. Servers that have the same backend are each named.
func (p *Part) keepers(server, backend string) (all []keeper, err error) {
	if server != "" && p.server(server) == nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is no server %q; there are %q", server, p.serverNames())}
	}
	var others []string
	for _, srv := range p.Servers {
		for _, b := range srv.Backends {
			if server != "" && srv.Name != server || backend != "" && b.ID != backend {
				continue
			}
			if k, ok := b.Module.(passwd.Keeper); ok {
				all = append(all, keeper{srv.Name, b.ID, srv.Timeout, k})
			} else {
				others = append(others, b.ID)
			}
		}
	}
	switch {
	case len(all) > 0:
		return all, nil
	case len(others) > 0:
		return nil, caddy.APIError{HTTPStatus: http.StatusNotImplemented, Err: fmt.Errorf("the users of %s are kept elsewhere and changed there; those of file and sql are kept here", strings.Join(slices.Compact(others), ", "))}
	}
	return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is no backend %q", backend)}
}

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
		if one && name != "" {
			name, err := url.PathUnescape(name)
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
	k, u, err := p.find(ctx, name, server, backend)
	if err != nil {
		return nil, err
	}
	p.lastUsed(ctx, &u)
	return adminapi.User{Server: k.server, Backend: k.backend, Summary: u}, nil
}

func (p *Part) find(ctx context.Context, name, server, backend string) (keeper, passwd.Summary, error) {
	all, err := p.keepers(server, backend)
	if err != nil {
		return keeper{}, passwd.Summary{}, err
	}
	for _, k := range all {
		asked, cancel := context.WithTimeout(ctx, k.timeout)
		u, err := k.User(asked, name)
		cancel()
		if err == nil {
			return k, u, nil
		}
		if !errors.Is(err, caddymsa.ErrUnknownUser) {
			return keeper{}, u, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: fmt.Errorf("backend %s: %w", k.backend, err)}
		}
	}
	return keeper{}, passwd.Summary{}, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("no backend that keeps its users here has a user %q", name)}
}

// maxLooked is how many facts are looked at for when application passwords were last used.
const maxLooked = 5000

// lastUsed asks the journals.
func (p *Part) lastUsed(ctx context.Context, u *passwd.Summary) {
	for _, store := range p.all() {
		j, ok := store.Spool.(journal.Journal)
		if !ok || len(u.AppPasswords) == 0 {
			continue
		}
		seen := make(map[string]bool)
		looked := 0
		_ = j.Facts(ctx, &journal.Query{User: u.Name, What: []journal.Kind{journal.Accepted}}, func(f *journal.Fact) bool {
			looked++
			if f.Submission == nil || f.Submission.AppPassword == "" {
				return looked < maxLooked
			}
			label := names.Fold(f.Submission.AppPassword)
			seen[label] = true
			for i := range u.AppPasswords {
				if a := &u.AppPasswords[i]; names.Fold(a.Label) == label && a.LastUsed.Before(f.Time) {
					a.LastUsed = f.Time
				}
			}
			return looked < maxLooked && len(seen) < len(u.AppPasswords)
		})
	}
}

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
	"add-app-password": func(q *adminapi.UserRequest) (passwd.Change, string, error) {
		app, secret, err := passwd.MakeApp(q.User, q.Label, q.Expires, q.AllowNets, q.Schemes)
		return passwd.Change{AddApp: app}, secret, err
	},
	"revoke-app-password": func(q *adminapi.UserRequest) (passwd.Change, string, error) {
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
		k, u, err := p.find(ctx, q.User, q.Server, q.Backend)
		if err != nil {
			return nil, err
		}
		q.User = u.Name // as it is stored: it is hashed with some secrets
		change, secret, err := userActions[action](q)
		if err != nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
		}
		asked, cancel := context.WithTimeout(ctx, k.timeout)
		defer cancel()
		note, err := k.ChangeUser(asked, u.Name, change)
		if err != nil {
			return nil, caddy.APIError{HTTPStatus: changeStatus(err), Err: fmt.Errorf("backend %s: %w", k.backend, err)}
		}
		p.Log.Info("a user was changed", zap.String("action", action), zap.String("user", u.Name), zap.String("backend", k.backend),
			zap.String("app_password", q.Label), zap.String("to", q.To), zap.String("by", OperatorOf(ctx)))
		return &adminapi.UserChanged{Server: k.server, Backend: k.backend, User: u.Name, Label: q.Label, Secret: secret, Note: note}, nil
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
