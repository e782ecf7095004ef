package directive

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// parseModule reads the module whose name the dispenser is at. what is what an operator calls such a
// module.
func parseModule(d *caddyfile.Dispenser, what, namespace, inlineKey string) (json.RawMessage, error) {
	if err := registered(d, what, namespace); err != nil {
		return nil, err
	}
	name := d.Val()
	unm, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(unm, inlineKey, name, nil), nil
}

// registered refuses a name that no module of the namespace has, and suggests the nearest. others
// are words that could stand there too.
func registered(d *caddyfile.Dispenser, what, namespace string, others ...string) error {
	name := d.Val()
	if _, err := caddy.GetModule(namespace + "." + name); err == nil {
		return nil
	}
	names := others
	for _, info := range caddy.GetModules(namespace) {
		names = append(names, info.ID.Name())
	}
	return d.Errf("unknown %s %q%s; known: %s", what, name, conf.DidYouMean(name, names), conf.And(names))
}

// eachModule reads a block of modules.
func eachModule(d *caddyfile.Dispenser, what, namespace, inlineKey string, into *[]json.RawMessage) error {
	return conf.Lines(d, func(d *caddyfile.Dispenser) (bool, error) {
		mod, err := parseModule(d, what, namespace, inlineKey)
		*into = append(*into, mod)
		return true, err
	})
}
