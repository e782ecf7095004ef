package directive

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/app"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// copy reads what stands behind copy:
//
//	[@<name>] <sink> ... {
//		name   <name>
//		queue  { retry <durations...> ; expire <duration> }
//		to     <address>
//		sender <address>
//		notifications
//		# the rest is the sink's
//	}
func (p *serverParser) copy(d *caddyfile.Dispenser) error {
	at := place(d)
	c := new(app.CopyConfig)
	var err error
	if c.MatcherSetsRaw, err = p.matcherAndModule(d, "directory /srv/archive", nil); err != nil {
		return err
	}
	sink, ours, err := splitBlock(d.NextSegment(), "name", "queue", "to", "sender", "notifications", "unqueued", "address_map")
	if err != nil {
		return err
	}
	if err := block(ours,
		conf.Text("name", &c.Name),
		conf.Func("queue", func(d *caddyfile.Dispenser) error {
			c.Queue = new(app.RetryConfig)
			return conf.Block(d, retrySettings(c.Queue)...)
		}),
		conf.Text("to", &c.To),
		conf.Text("sender", &c.Sender),
		conf.Flag("notifications", &c.Notifications),
		conf.Func("unqueued", func(d *caddyfile.Dispenser) error {
			return d.Err("unqueued is for deliver: a copy never holds the client up")
		}),
		conf.Func("address_map", func(d *caddyfile.Dispenser) error {
			return d.Err("address_map is for deliver: a copy has the envelope as it was accepted")
		}),
	); err != nil {
		return err
	}
	sd := caddyfile.NewDispenser(sink)
	sd.Next()
	c.SinkRaw, err = parseModule(sd, "sink", "msa.sinks", "module")
	places.Remember(c.SinkRaw, at)
	p.srv.Copies = append(p.srv.Copies, c)
	return err
}
