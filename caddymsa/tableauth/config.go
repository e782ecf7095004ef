package tableauth

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// NewCache returns the cache that a module's setting asks for: zero means 5 minutes,
// negative means none.
func NewCache[D ~int64](setting D) *authcache.Cache {
	if setting == 0 {
		return authcache.New(authcache.DefaultTTL, nil)
	}
	return authcache.New(time.Duration(setting), nil)
}

// UnmarshalCache parses a module's setting. Syntax:
//
//	cache <duration>|off
func UnmarshalCache(d *caddyfile.Dispenser) (caddy.Duration, error) {
	var ttl conf.Duration
	err := conf.Parse(d, CacheSetting(&ttl))
	return caddy.Duration(ttl), err
}

// CacheSetting is a module's setting. Syntax:
//
//	cache <duration>|off
func CacheSetting(into *conf.Duration) conf.Setting { return conf.DurationOr("cache", into, "off", -1) }

// UnmarshalCase parses a module's setting. Syntax:
//
//	case fold|exact
func UnmarshalCase(d *caddyfile.Dispenser, into *names.Case) error {
	return conf.Parse(d, conf.Value("case", into))
}
