package tableauth

import (
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// NewCache returns the cache that a module's setting asks for: zero means 5 minutes,
// negative means none.
func NewCache(setting conf.Duration) *authcache.Cache {
	if setting == 0 {
		return authcache.New(authcache.DefaultTTL, nil)
	}
	return authcache.New(time.Duration(setting), nil)
}

// CacheSetting is a module's setting. Syntax:
//
//	cache <duration>|off
func CacheSetting(into *conf.Duration) conf.Setting { return conf.DurationOr("cache", into, "off", -1) }
