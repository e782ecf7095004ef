package app

import (
	"context"
	"maps"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// run puts the servers where handlers of other apps find them (package running).
func (app *App) run() {
	servers := make(map[string]any, len(app.Servers))
	for name, srv := range app.Servers {
		srv.noteListeners()
		servers[name] = srv
	}
	app.leave = running.Push(app, servers)
}

// ServerNames implements running.Named.
func (app *App) ServerNames() []string { return slices.Sorted(maps.Keys(app.Servers)) }

// Enter implements running.Entered.
func (srv *Server) Enter(parent context.Context) (context.Context, func(), bool) {
	return srv.app.generation.enter(parent)
}

// Interface guards
var (
	_ running.Named   = (*App)(nil)
	_ running.Entered = (*Server)(nil)
)
