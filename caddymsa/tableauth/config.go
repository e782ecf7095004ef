package tableauth

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// NewCache returns the cache that a module's setting asks for: zero means 5 minutes,
// negative means none.
func NewCache(setting caddy.Duration) *authcache.Cache {
	if setting == 0 {
		return authcache.New(authcache.DefaultTTL, nil)
	}
	return authcache.New(time.Duration(setting), nil)
}

// UnmarshalCache parses a module's setting. Syntax:
//
//	cache <duration>|off
func UnmarshalCache(d *caddyfile.Dispenser) (caddy.Duration, error) {
	var arg string
	if !d.AllArgs(&arg) {
		return 0, d.ArgErr()
	}
	if arg == "off" {
		return -1, nil
	}
	ttl, err := caddy.ParseDuration(arg)
	if err != nil || ttl <= 0 {
		return 0, d.Errf("cache: %q is neither a duration nor off", arg)
	}
	return caddy.Duration(ttl), nil
}

// UnmarshalCase parses a module's setting. Syntax:
//
//	case fold|exact
func UnmarshalCase(d *caddyfile.Dispenser, into *names.Case) error {
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	if err := into.UnmarshalText([]byte(arg)); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
