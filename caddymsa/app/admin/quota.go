package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// serveQuota says what is left to a user: GET /msa/quota/<user>?server=&ip=.
func serveQuota(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	for name := range q {
		if name != "server" && name != "ip" {
			return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("unknown parameter %q; there are server and ip", name)}
		}
	}
	name, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/msa/quota/"))
	if err != nil || name == "" {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New("a user is required: /msa/quota/<user>")}
	}
	var ip netip.Addr
	if text := q.Get("ip"); text != "" {
		if ip, err = netip.ParseAddr(text); err != nil {
			return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("ip: %q is not an IP address", text)}
		}
	}
	answer, err := withApp(r.Context(), func(ctx context.Context, p *Part) ([]adminapi.UserQuota, error) {
		return p.quotas(ctx, name, q.Get("server"), ip)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}

func (p *Part) quotas(ctx context.Context, name, server string, ip netip.Addr) ([]adminapi.UserQuota, error) {
	server, err := p.serverNamed(server)
	if err != nil {
		return nil, err
	}
	var all []adminapi.UserQuota
	for i := range p.Servers {
		srv := &p.Servers[i]
		if server != "" && srv.Name != server {
			continue
		}
		id, backend, note, err := srv.lookUp(ctx, name, ip)
		if errors.Is(err, caddymsa.ErrUnknownUser) {
			continue
		}
		if err != nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
		}
		all = append(all, adminapi.UserQuota{Server: srv.Name, User: id.User, Backend: backend, Limits: srv.Quotas(ctx, id, ip), Note: note})
	}
	if len(all) == 0 {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("no backend knows a user %q, or the user is disabled", name)}
	}
	return all, nil
}

// lookUp asks the backends who a user is. Where one of them can look nobody up, who is not known may be its user, and is one without
// attributes. note says so.
func (srv *Server) lookUp(ctx context.Context, name string, ip netip.Addr) (id caddymsa.Identity, backend, note string, err error) {
	from := ip
	if !from.IsValid() {
		from = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	var blind []string
	for _, b := range srv.Backends {
		l, ok := caddymsa.As[caddymsa.Lookuper](b.Module, caddymsa.CapLookup)
		if !ok {
			blind = append(blind, b.ID)
			continue
		}
		asked, cancel := context.WithTimeout(ctx, srv.Timeout)
		id, err := l.Lookup(asked, caddymsa.Peer{IP: from, Server: srv.Hostname, Session: "quota"}, name)
		cancel()
		switch {
		case err == nil:
			return id, b.ID, "", nil
		case !errors.Is(err, caddymsa.ErrCredentials):
			return id, "", "", fmt.Errorf("backend %s: %w", b.ID, err)
		case errors.Is(err, caddymsa.ErrNotFromThere):
			return caddymsa.Identity{User: name}, b.ID, fmt.Sprintf("the user may not log in from %s, so that these are the amounts of a user without attributes; ask again with an address (--ip) from which the user may", from), nil
		}
	}
	if len(blind) > 0 {
		return caddymsa.Identity{User: name}, "", fmt.Sprintf("%s cannot look users up; if it is one of those, these are the amounts of a user without attributes", strings.Join(blind, ", ")), nil
	}
	return id, "", "", caddymsa.ErrUnknownUser
}
