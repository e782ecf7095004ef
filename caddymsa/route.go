package caddymsa

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// RecipientChecker is an optional interface of a sink: it is asked at RCPT, after
// routing, whether the sink could take this recipient at all. An *smtp.SMTPError
// refuses the recipient.
type RecipientChecker interface {
	CheckRecipient(ctx context.Context, e *queue.Entry, r *queue.Recipient) error
}

// RouteConfig is one element of a server's routes: the first whose matchers match
// takes the recipient.
type RouteConfig struct {
	// Match restricts the route to what one of these sets matches. Empty: everything.
	MatcherSetsRaw []caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=msa.matchers"`
	// Sink is where the recipient's copy goes: a module.
	SinkRaw json.RawMessage `json:"sink,omitempty" caddy:"namespace=msa.sinks inline_key=module"`

	matchers matcherSets
	sink     queue.Sink
	name     string
}

func (r *RouteConfig) provision(ctx caddy.Context) error {
	if r.SinkRaw == nil {
		return fmt.Errorf(`a sink is required, as in "sink": {"module": "maildir", "path": "/var/mail/{msa.recipient}"}`)
	}
	mod, err := ctx.LoadModule(r, "SinkRaw")
	if err != nil {
		return err
	}
	sink, ok := mod.(queue.Sink)
	if !ok {
		return fmt.Errorf("%s is no sink", moduleName(mod))
	}
	r.sink, r.name = sink, moduleName(mod)
	r.matchers, err = loadMatchers(ctx, r, "MatcherSetsRaw", MomentRecipient)
	return err
}

// route returns the first route that takes r, or nil.
func (srv *Server) route(e *queue.Entry, r *queue.Recipient) (*RouteConfig, error) {
	if e.Bounce && srv.Bounces != nil {
		if ok, err := srv.Bounces.matchers.matchEntry(e, r); ok || err != nil {
			return srv.Bounces, err
		}
	}
	for _, route := range srv.Routes {
		if ok, err := route.matchers.matchEntry(e, r); ok || err != nil {
			return route, err
		}
	}
	return nil, nil
}

// moduleName is the last label of a module's id.
func moduleName(mod any) string {
	if m, ok := mod.(caddy.Module); ok {
		return m.CaddyModule().ID.Name()
	}
	return fmt.Sprintf("%T", mod)
}
