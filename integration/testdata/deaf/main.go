// Command deaf is a Caddy with modules that do not heed their contexts: TestGracePeriod runs it.
package main

import (
	"context"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-msa/caddy-msa"
	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(Policy))
	caddy.RegisterModule(new(Sink))
	caddy.RegisterModule(new(Handler))
}

func main() { caddycmd.Main() }

// Policy never answers to whom the sender is deaf@...
type Policy struct{}

func (*Policy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.deaf", New: func() caddy.Module { return new(Policy) }}
}

func (*Policy) CheckSender(_ context.Context, s *caddymsa.Submission) error {
	if strings.HasPrefix(s.Entry.Sender, "deaf@") {
		caddy.Log().Info("the policy was asked")
		select {}
	}
	return nil
}

func (*Policy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

// Sink never delivers.
type Sink struct{}

func (*Sink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.deaf", New: func() caddy.Module { return new(Sink) }}
}

func (*Sink) Deliver(context.Context, *queue.Delivery) error { select {} }

func (*Sink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

// Handler never has done with an event.
type Handler struct{}

func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.deaf", New: func() caddy.Module { return new(Handler) }}
}

func (*Handler) Handle(context.Context, caddy.Event) error {
	caddy.Log().Info("the handler was told")
	select {}
}

func (*Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }
