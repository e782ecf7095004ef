package directive

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
)

// skipSegment passes over a directive with its block.
func skipSegment(d *caddyfile.Dispenser) {
	_ = d.NextSegment()
}

// matcherDefinitions reads all @name lines of a block, for they may stand after their use.
func (p *serverParser) matcherDefinitions(d *caddyfile.Dispenser) error {
	d.Next() // consume the option name
	d.RemainingArgs()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if !strings.HasPrefix(name, "@") {
			skipSegment(d)
			continue
		}
		if _, defined := p.matchers[name]; defined {
			return d.Errf("matcher %s is defined twice", name)
		}
		at := place(d)
		set, err := parseMatcherSet(d)
		if err != nil {
			return err
		}
		places.Remember(caddyconfig.JSON(set, nil), at)
		p.matchers[name] = []caddy.ModuleMap{set}
	}
	return nil
}

// parseMatcherSet reads <matcher> ... on the line of the name, or a block of them.
func parseMatcherSet(d *caddyfile.Dispenser) (caddy.ModuleMap, error) {
	name := d.Val()
	set := make(caddy.ModuleMap)
	one := func() error {
		matcher := d.Val()
		if set[matcher] != nil {
			return d.Errf("matcher %s: %s is specified twice; put all values on one line", name, matcher)
		}
		if err := registered(d, "matcher", "msa.matchers"); err != nil {
			return err
		}
		unm, err := caddyfile.UnmarshalModule(d, "msa.matchers."+matcher)
		if err != nil {
			return err
		}
		set[matcher] = caddyconfig.JSON(unm, nil)
		return nil
	}
	if d.NextArg() {
		return set, one()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := one(); err != nil {
			return nil, err
		}
	}
	if len(set) == 0 {
		return nil, d.Errf("matcher %s is empty; write what it matches, as in: %s recipient_domain example.org", name, name)
	}
	return set, nil
}
