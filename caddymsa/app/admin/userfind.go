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

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// keeper is a backend whose users can be listed and changed.
type keeper struct {
	server, backend string
	timeout         time.Duration
	passwd.Keeper
}

// keepers are those that are asked for, in the order in which the servers ask them, but for those that have application
// passwords alone, which come last. Servers that have the same backend are each named.
func (p *Part) keepers(server, backend string) (all []keeper, err error) {
	if server, err = p.serverNamed(server); err != nil {
		return nil, err
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
		slices.SortStableFunc(all, appKeepersLast)
		return all, nil
	case len(others) > 0:
		return nil, caddy.APIError{HTTPStatus: http.StatusNotImplemented, Err: fmt.Errorf("the users of %s are kept elsewhere and changed there; those of file, sql and app_passwords are kept here", strings.Join(slices.Compact(others), ", "))}
	}
	return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is no backend %q", backend)}
}

// find returns the first that has the user. all are of keepers.
func find(ctx context.Context, all []keeper, name string) (keeper, passwd.Summary, error) {
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

// findToChange finds the backend that has the user, and how it spells the name.
func (p *Part) findToChange(ctx context.Context, action string, q *adminapi.UserRequest) (keeper, string, error) {
	all, err := p.keepers(q.Server, q.Backend)
	if err != nil {
		return keeper{}, "", err
	}
	switch action {
	case addAppPassword:
		return p.findForApp(ctx, all, q)
	case revokeAppPassword:
		slices.SortStableFunc(all, func(a, b keeper) int { return -appKeepersLast(a, b) })
	}
	k, u, err := find(ctx, all, q.User)
	return k, u.Name, err
}

func appKeepersLast(a, b keeper) int {
	switch {
	case isAppKeeper(a) == isAppKeeper(b):
		return 0
	case isAppKeeper(a):
		return 1
	}
	return -1
}

func isAppKeeper(k keeper) bool {
	_, ok := k.Keeper.(passwd.AppKeeper)
	return ok
}

// findForApp finds the backend that is to have an application password of a user. One that has application passwords alone
// comes first, since the others may have the user and cannot hold any.
func (p *Part) findForApp(ctx context.Context, all []keeper, q *adminapi.UserRequest) (keeper, string, error) {
	for _, k := range all {
		ak, ok := k.Keeper.(passwd.AppKeeper)
		switch {
		case !ok:
			continue
		case q.New:
			return k, q.User, nil
		}
		asked, cancel := context.WithTimeout(ctx, k.timeout)
		name, err := ak.Knows(asked, q.User)
		cancel()
		switch {
		case err == nil:
			return k, name, nil
		case !errors.Is(err, caddymsa.ErrUnknownUser):
			return keeper{}, "", caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: fmt.Errorf("backend %s: %w", k.backend, err)}
		}
	}
	if q.New {
		return keeper{}, "", caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New("new: there is no backend app_passwords, which alone has application passwords of users who live elsewhere")}
	}
	k, u, err := find(ctx, all, q.User)
	return k, u.Name, err
}
