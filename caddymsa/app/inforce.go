package app

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/redact"
)

// inForce is the configuration as it works, without its secrets.
func (app *App) inForce() (*adminapi.Servers, error) {
	answer := &adminapi.Servers{Servers: []adminapi.Server{}}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		answer.Servers = append(answer.Servers, app.Servers[name].inShort())
	}
	loaded, err := redact.Config[App](app.loaded)
	if err != nil {
		return nil, err
	}
	provisioned, err := json.Marshal(app) // without the modules, and with the defaults of what they are in
	if err != nil {
		return nil, err
	}
	defaults, err := redact.Config[App](provisioned)
	if err != nil {
		return nil, err
	}
	answer.App, err = json.Marshal(filled(loaded, defaults))
	return answer, err
}

// filled is a configuration with the defaults of what it leaves out. Lists are as they are: what was added to one is in a
// Server's short form.
func filled(loaded, defaults any) any {
	have, ok := loaded.(map[string]any)
	more, both := defaults.(map[string]any)
	if !ok || !both {
		return loaded
	}
	for name, value := range more {
		if set, ok := have[name]; ok {
			have[name] = filled(set, value)
		} else if value != nil {
			have[name] = value
		}
	}
	return have
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
