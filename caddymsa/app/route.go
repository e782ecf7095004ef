package app

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// RouteConfig is one element of a server's routes: the first whose matchers match
// takes the recipient.
type RouteConfig struct {
	// Match restricts the route to what one of these sets matches. Empty: everything.
	MatcherSetsRaw []caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=msa.matchers"`
	// Name of the route in log, metrics and lanes. Default: the sink's name, with its destination where
	// the app has several routes to sinks of one kind.
	Name string `json:"name,omitempty"`
	// Sink is where the recipient's copy goes: a module.
	SinkRaw json.RawMessage `json:"sink,omitempty" caddy:"namespace=msa.sinks inline_key=module"`
	// Queue overrides the app's schedule for this route. Default: the app's.
	Queue *RetryConfig `json:"queue,omitempty"`
	// Unqueued has the message delivered before the client is answered. Default: it is queued.
	Unqueued *Unqueued `json:"unqueued,omitempty"`
	// AddressMap translates the addresses that clients use to those that the sink gets.
	// Default: they are the same.
	AddressMapRaw json.RawMessage `json:"address_map,omitempty" caddy:"namespace=msa.address_maps inline_key=module"`

	matchers matcherSets
	sink     queue.Sink
	sinkName string
	name     string
	schedule *queue.Schedule
}

func (r *RouteConfig) provision(ctx caddy.Context, schedule queue.Schedule) error {
	if err := r.checkName(); err != nil {
		return err
	}
	if r.SinkRaw == nil {
		return fmt.Errorf(`a sink is required, as in "sink": {"module": "maildir", "path": "/var/mail/{msa.recipient}"}`)
	}
	mod, err := ctx.LoadModule(r, "SinkRaw")
	if err != nil {
		return err
	}
	sink, ok := mod.(queue.Sink)
	if !ok {
		return fmt.Errorf("%s is not a sink", moduleName(mod))
	}
	r.sink, r.sinkName = sink, moduleName(mod)
	if r.AddressMapRaw != nil {
		raw := r.AddressMapRaw // which loading empties
		mod, err := ctx.LoadModule(r, "AddressMapRaw")
		if err != nil {
			return places.At(places.Of(raw), fmt.Errorf("address_map: %w", places.Module(raw, err)))
		}
		addresses, ok := mod.(caddymsa.AddressMap)
		if !ok {
			return fmt.Errorf("address_map: %s is not an address map", moduleName(mod))
		}
		r.sink = &mappedSink{sink: sink, addresses: addresses, log: terminal.Logger(ctx.Logger())}
	}
	if r.Queue != nil {
		if r.schedule, err = r.Queue.schedule(schedule); err != nil {
			return fmt.Errorf("queue: %w", err)
		}
	}
	if r.Unqueued != nil {
		if err := r.Unqueued.setDefaults(); err != nil {
			return fmt.Errorf("unqueued: %w", err)
		}
	}
	r.matchers, err = loadMatchers(ctx, r, "MatcherSetsRaw", r.MatcherSetsRaw, caddymsa.MomentRecipient)
	return err
}

// tellOfRoutes warns of routes that nothing comes to, since one before them has no matcher: the order of routes counts.
func tellOfRoutes(routes []*RouteConfig, log *zap.Logger) {
	for i, r := range routes {
		if after := len(routes) - i - 1; len(r.matchers) == 0 && after > 0 {
			log.Warn("a route without a matcher takes all that comes to it, and nothing goes to the routes after it: put it last", zap.String("route", r.name), zap.Int("after_it", after))
			return
		}
	}
}

// scheduleOf is the route's schedule for a recipient; nil: the app's.
func (r *RouteConfig) scheduleOf(rcpt *queue.Recipient, app *QueueConfig) *queue.Schedule {
	if r.Queue == nil {
		return app.of(rcpt)
	}
	if s := r.Queue.of(rcpt); s != nil {
		return s
	}
	return r.schedule
}

// route returns the first route that takes r, or nil.
func (srv *Server) route(e *queue.Entry, r *queue.Recipient) (*RouteConfig, error) {
	if e.Bounce && srv.Bounces != nil {
		if ok, err := srv.Bounces.matchers.matchEntry(e, r); ok || err != nil {
			return srv.Bounces, err
		}
	}
	var buf [8][]int32
	for found := srv.routes.all(buf[:0], e, r); ; {
		i, more := found.next()
		if !more {
			return nil, nil
		}
		route := srv.Routes[i]
		if ok, err := route.matchers.matchEntry(e, r); ok || err != nil {
			return route, err
		}
	}
}

// moduleName is the last label of a module's id.
func moduleName(mod any) string {
	if m, ok := mod.(caddy.Module); ok {
		return m.CaddyModule().ID.Name()
	}
	return fmt.Sprintf("%T", mod)
}
