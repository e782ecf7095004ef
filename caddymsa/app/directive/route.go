package directive

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/app"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// route reads what stands behind deliver or bounces:
//
//	[@<name>] <sink> ... {
//		name        <name>
//		queue       { retry <durations...> ; expire <duration> ; warn <duration> ; destination <domains...> { ... } }
//		unqueued    [<timeout>]
//		address_map <map> ...
//		# the rest is the sink's
//	}
func (p *serverParser) route(d *caddyfile.Dispenser, example string) (*app.RouteConfig, error) {
	at := place(d)
	r := new(app.RouteConfig)
	var err error
	if r.MatcherSetsRaw, err = p.matcherAndModule(d, example, nil); err != nil {
		return nil, err
	}
	sink, ours, err := splitBlock(d.NextSegment(), "name", "queue", "unqueued", "address_map")
	if err != nil {
		return nil, err
	}
	if err := block(ours,
		conf.Text("name", &r.Name),
		conf.Func("queue", func(d *caddyfile.Dispenser) error { return routeQueue(d, r) }),
		conf.Func("unqueued", func(d *caddyfile.Dispenser) error { return unqueued(d, r) }),
		conf.Func("address_map", func(d *caddyfile.Dispenser) (err error) {
			if !d.NextArg() {
				return d.Err("address_map takes a module, as in: address_map file addresses.map")
			}
			at := place(d)
			r.AddressMapRaw, err = parseModule(d, "address map", "msa.address_maps", "module")
			places.Remember(r.AddressMapRaw, at)
			return err
		}),
	); err != nil {
		return nil, err
	}
	sd := caddyfile.NewDispenser(sink)
	sd.Next()
	r.SinkRaw, err = parseModule(sd, "sink", "msa.sinks", "module")
	places.Remember(r.SinkRaw, at)
	return r, err
}

// block reads a block that splitBlock took out.
func block(segment caddyfile.Segment, settings ...conf.Setting) error {
	d := caddyfile.NewDispenser(segment)
	if !d.Next() {
		return nil
	}
	return conf.Block(d, settings...)
}

func routeQueue(d *caddyfile.Dispenser, r *app.RouteConfig) error {
	r.Queue = new(app.RetryConfig)
	return conf.Block(d, retrySettings(r.Queue)...)
}

func unqueued(d *caddyfile.Dispenser, r *app.RouteConfig) error {
	r.Unqueued = new(app.Unqueued)
	if d.CountRemainingArgs() == 0 {
		return nil
	}
	return conf.Parse(d, conf.Value("unqueued", &r.Unqueued.Timeout))
}

// splitBlock takes the lines with these names, and what blocks they have, out of a segment's block.
// They come back as a block of their own.
func splitBlock(segment caddyfile.Segment, names ...string) (rest, taken caddyfile.Segment, err error) {
	d := caddyfile.NewDispenser(segment)
	d.Next()
	args := len(d.RemainingArgs())
	var kept caddyfile.Segment
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		line := d.NextSegment()
		if slices.Contains(names, line[0].Text) {
			taken = append(taken, line...)
		} else {
			kept = append(kept, line...)
		}
	}
	if len(taken) == 0 {
		return segment, nil, nil
	}
	open, end := segment[1+args], segment[len(segment)-1]
	rest = append(rest, segment[:1+args]...)
	if len(kept) > 0 {
		rest = append(append(append(rest, open), kept...), end)
	}
	taken = append(append(caddyfile.Segment{segment[0], open}, taken...), end)
	return rest, taken, nil
}
