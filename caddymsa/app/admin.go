package app

import (
	"context"
	"maps"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/admin"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// EnterAdmin implements admin.App.
func (app *App) EnterAdmin(parent context.Context) (ctx context.Context, part *admin.Part, leave func(), ok bool) {
	if ctx, leave, ok = app.generation.enter(parent); !ok {
		return nil, nil, nil, false
	}
	calling(ctx, "admin.api.msa", "request")
	part = &admin.Part{Log: app.log, Store: app.delivery.store.admin(), ShowContent: app.Queue.ShowContent, OpenSpool: app.openSpool,
		SpoolModule: app.spool, Left: app.left, Notifiers: notifierStatus, Journal: app.Journal.limits(),
		InForce: app.inForce,
		Tallies: admin.Tallies{Rates: &rates, Refusals: &refusals},
		Held: func(e *queue.Entry, reason, by string) {
			app.events.emit(eventHeld, func() map[string]any { return heldEvent(e, reason, by) })
		}}
	for _, f := range app.former {
		if !f.over() {
			part.Former = append(part.Former, f.d.store.admin())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		srv := app.Servers[name]
		s := admin.Server{Name: name, Hostname: srv.Hostname, Mechanisms: srv.Auth.offered(), Realms: srv.Auth.Realms, Timeout: srv.Auth.timeout(), TLS: srv.tlsConfig,
			Listeners: srv.listeners, Keys: srv.keyRecords(), Egress: srv.egress(), KeepsKey: srv.keepsKey(),
			Gate: srv.gate, Throttle: &srv.Auth.Throttle}
		s.Quotas = srv.quotas
		for _, b := range srv.Auth.backends {
			s.Backends = append(s.Backends, admin.Backend{ID: b.id, Module: b.module, Reload: b.reload})
		}
		s.Patient = srv.patient
		part.Servers = append(part.Servers, s)
	}
	return ctx, part, leave, true
}

func (s *store) admin() admin.Store { return admin.Store{Key: s.key, Spool: s.spool, Queue: s.queue} }

// Interface guard
var _ admin.App = (*App)(nil)
