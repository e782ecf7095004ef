package app

import (
	"maps"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// inForce is the configuration as it works.
func (app *App) inForce() (*adminapi.Servers, error) {
	answer := &adminapi.Servers{Servers: []adminapi.Server{}}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		answer.Servers = append(answer.Servers, app.Servers[name].inShort())
	}
	return answer, nil
}

func (srv *Server) inShort() adminapi.Server {
	s := adminapi.Server{Name: srv.name, Hostname: srv.Hostname, Listen: []string{}, ListenTLS: []string{}, Mechanisms: srv.Auth.offered(),
		Backends: []string{}, Policies: []string{}, Routes: []string{}}
	for _, na := range srv.addresses {
		if na.implicit {
			s.ListenTLS = append(s.ListenTLS, na.String())
		} else {
			s.Listen = append(s.Listen, na.String())
		}
	}
	for _, b := range srv.Auth.backends {
		s.Backends = append(s.Backends, b.id)
	}
	for _, p := range srv.Policies {
		s.Policies = append(s.Policies, p.name)
	}
	for _, r := range srv.Routes {
		s.Routes = append(s.Routes, r.name)
	}
	return s
}
