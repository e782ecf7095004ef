package app

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// route reads what stands behind deliver or bounces:
//
//	[@<name>] <sink> ... {
//		queue       { retry <durations...> ; expire <duration> ; warn <duration> ; destination <domains...> { ... } }
//		unqueued    [<timeout>]
//		address_map <map> ...
//		# the rest is the sink's
//	}
func (p *serverParser) route(d *caddyfile.Dispenser, example string) (*RouteConfig, error) {
	r := new(RouteConfig)
	var err error
	if r.MatcherSetsRaw, err = p.matcherAndModule(d, example, nil); err != nil {
		return nil, err
	}
	sink, ours, err := splitBlock(d.NextSegment(), "queue", "unqueued", "address_map")
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, segment := range ours {
		od := caddyfile.NewDispenser(segment)
		od.Next()
		name := od.Val()
		if seen[name] {
			return nil, od.Errf("%s stands twice in one route", name)
		}
		seen[name] = true
		if err := r.setting(od, name); err != nil {
			return nil, err
		}
	}
	sd := caddyfile.NewDispenser(sink)
	sd.Next()
	r.SinkRaw, err = parseModule(sd, "msa.sinks", "module")
	return r, err
}

func (r *RouteConfig) setting(d *caddyfile.Dispenser, name string) (err error) {
	switch name {
	case "queue":
		r.Queue = new(RetryConfig)
		return block(d, func(name string) error {
			if known, err := r.Queue.setting(d, name); known || err != nil {
				return err
			}
			return d.Errf("unknown queue setting %q of a route; there are retry, expire, warn and destination", name)
		})
	case "unqueued":
		r.Unqueued = new(Unqueued)
		if d.NextArg() {
			timeout, err := caddy.ParseDuration(d.Val())
			if err != nil || d.NextArg() {
				return d.Errf("unqueued takes a timeout at most, as in: unqueued 1m")
			}
			r.Unqueued.Timeout = caddy.Duration(timeout)
		}
	case "address_map":
		if !d.NextArg() {
			return d.Err("address_map takes a module, as in: address_map file addresses.map")
		}
		r.AddressMapRaw, err = parseModule(d, "msa.address_maps", "module")
	}
	return err
}

// setting reads a line that the app's queue and a route's have in common.
func (c *RetryConfig) setting(d *caddyfile.Dispenser, name string) (known bool, err error) {
	if name != "destination" {
		return c.RetryTimes.setting(d, name)
	}
	to := new(DestinationRetry)
	if to.Domains = d.RemainingArgs(); len(to.Domains) == 0 {
		return true, d.Err("destination takes domains and a block, as in: destination slow.example { retry 1h }")
	}
	c.Destinations = append(c.Destinations, to)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if known, err := to.RetryTimes.setting(d, name); err != nil {
			return true, err
		} else if !known {
			return true, d.Errf("unknown setting %q of a destination; there are retry, expire and warn", name)
		}
	}
	return true, nil
}

// setting reads one of the times.
func (c *RetryTimes) setting(d *caddyfile.Dispenser, name string) (known bool, err error) {
	switch name {
	case "retry":
		args := d.RemainingArgs()
		if len(args) == 0 {
			return true, d.ArgErr()
		}
		for _, arg := range args {
			dur, err := caddy.ParseDuration(arg)
			if err != nil {
				return true, d.Errf("retry: %v", err)
			}
			c.Retry = append(c.Retry, caddy.Duration(dur))
		}
		return true, nil
	case "expire":
		return true, duration(d, &c.Expire)
	case "warn":
		if d.NextArg() {
			if d.Val() == "off" {
				c.Warn = -1
				return true, nil
			}
			d.Prev()
		}
		return true, duration(d, &c.Warn)
	}
	return false, nil
}

// splitBlock takes the lines with these names, and what blocks they have, out of a segment's block.
func splitBlock(segment caddyfile.Segment, names ...string) (rest caddyfile.Segment, taken []caddyfile.Segment, err error) {
	d := caddyfile.NewDispenser(segment)
	d.Next()
	args := len(d.RemainingArgs())
	var kept caddyfile.Segment
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		line := d.NextSegment()
		if oneOf("", &line[0].Text, names...) == nil {
			taken = append(taken, line)
		} else {
			kept = append(kept, line...)
		}
	}
	if len(taken) == 0 {
		return segment, nil, nil
	}
	rest = append(rest, segment[:1+args]...)
	if len(kept) > 0 {
		rest = append(rest, segment[1+args]) // {
		rest = append(rest, kept...)
		rest = append(rest, segment[len(segment)-1]) // }
	}
	return rest, taken, nil
}
