package app

import (
	"encoding/json"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// parseModule reads the module whose name the dispenser stands at.
func parseModule(d *caddyfile.Dispenser, namespace, inlineKey string) (json.RawMessage, error) {
	name := d.Val()
	unm, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(unm, inlineKey, name, nil), nil
}

// eachModule reads a block of modules.
func eachModule(d *caddyfile.Dispenser, namespace, inlineKey string, into *[]json.RawMessage) error {
	return block(d, func(string) error {
		mod, err := parseModule(d, namespace, inlineKey)
		*into = append(*into, mod)
		return err
	})
}

// block calls line for each line of the directive's block.
func block(d *caddyfile.Dispenser, line func(name string) error) error {
	directive := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes a block: %s { ... }", directive, directive)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := line(d.Val()); err != nil {
			return err
		}
	}
	return nil
}

func appendArgs(d *caddyfile.Dispenser, into *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*into = append(*into, args...)
	return nil
}

func oneWord(d *caddyfile.Dispenser, into *string, words ...string) error {
	name := d.Val()
	if !d.AllArgs(into) {
		return d.ArgErr()
	}
	if err := oneOf(name, into, words...); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func duration(d *caddyfile.Dispenser, into *caddy.Duration) error {
	name := d.Val()
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	dur, err := caddy.ParseDuration(arg)
	if err != nil {
		return d.Errf("%s: %v", name, err)
	}
	*into = caddy.Duration(dur)
	return nil
}

func count(d *caddyfile.Dispenser, into *int) error {
	name := d.Val()
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	n, err := strconv.Atoi(arg)
	if err != nil || n <= 0 {
		return d.Errf("%s: %q is not a number above 0", name, arg)
	}
	*into = n
	return nil
}

// size takes octets, or a number with KiB, MiB ...
func size(d *caddyfile.Dispenser, into *int64) error {
	name := d.Val()
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	n, err := humanize.ParseBytes(arg)
	if err != nil || n == 0 || n > 1<<50 {
		return d.Errf("%s: %q is not a size; write octets, or a number with KiB or MiB, as in 50MiB", name, arg)
	}
	*into = int64(n)
	return nil
}
