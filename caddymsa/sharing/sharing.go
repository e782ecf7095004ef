// Package sharing says where limits that several nodes share keep their counts: in Redis, or in the database of a spool that they
// share anyway. Who asks is answered soon, also by a store that hangs.
package sharing

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Sharing are the settings, one of which is given. Without them each node counts for itself.
type Sharing struct {
	// Redis keeps the counts in Redis.
	Redis *Redis `json:"redis,omitempty"`
	// Spool keeps the counts in the spool's database, which has to be one that nodes share.
	Spool *Spool `json:"spool,omitempty"`
}

// Spool is the database of the spool that accepts. Its clock counts.
type Spool struct {
	// Timeout is how long it may take. Default: 200ms.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// OnFailure is what happens when it does not answer: local (the default: this node's own count), tempfail
	// (451 4.3.0) or accept.
	OnFailure string `json:"on_failure,omitempty"`
}

// What happens when nobody answers.
const (
	FailLocal    = "local"
	FailTempfail = caddymsa.FailTempfail
	FailAccept   = caddymsa.FailAccept
)

var onFailure = []string{FailLocal, FailTempfail, FailAccept}

const defaultTimeout = 200 * time.Millisecond

// Open prepares to count, for the limit of that name; nil if each node counts for itself. Redis need not be there yet.
func (s *Sharing) Open(limit string, log *zap.Logger) (c *Counts, err error) {
	switch {
	case s.Redis != nil && s.Spool != nil:
		return nil, errors.New("redis and spool: the counts are in one of them; remove the other")
	case s.Redis != nil:
		if c, err = s.Redis.open(limit, log); err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
	case s.Spool != nil:
		c = &Counts{where: "the spool's database", prefix: limit + ":"}
		if err := c.set(s.Spool.Timeout, s.Spool.OnFailure); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
	default:
		return nil, nil
	}
	c.limit, c.log, c.now = limit, log, time.Now
	return c, nil
}

func (c *Counts) set(timeout conf.Duration, failing string) error {
	if failing == "" {
		failing = FailLocal
	}
	if err := conf.OneOf(failing, onFailure...); err != nil {
		return fmt.Errorf("on_failure: %w", err)
	}
	if timeout < 0 {
		return errors.New("timeout: must not be negative")
	}
	if timeout == 0 {
		timeout = conf.Duration(defaultTimeout)
	}
	c.timeout, c.OnFailure = time.Duration(timeout), failing
	return nil
}

// CountsInSpool tells whether the spool has to be one that nodes share.
func (s *Sharing) CountsInSpool() bool { return s.Spool != nil }

// Settings read one of:
//
//	redis <address> {
//		username   <name>
//		password   <password>
//		db         <number>
//		tls
//		prefix     <text>
//		timeout    <duration>
//		on_failure local | tempfail | accept
//	}
//	spool {
//		timeout    <duration>
//		on_failure local | tempfail | accept
//	}
func (s *Sharing) Settings() []conf.Setting {
	return []conf.Setting{conf.Func("redis", s.readRedis), conf.Func("spool", s.readSpool)}
}

func (s *Sharing) readSpool(d *caddyfile.Dispenser) error {
	s.Spool = new(Spool)
	return conf.Block(d,
		conf.Value("timeout", &s.Spool.Timeout),
		conf.Word("on_failure", &s.Spool.OnFailure, onFailure...),
	)
}

func (s *Sharing) readRedis(d *caddyfile.Dispenser) error {
	r := new(Redis)
	s.Redis = r
	if !d.AllArgs(&r.Address) {
		return d.Err("redis takes an address, such as 127.0.0.1:6379")
	}
	if err := conf.NoURL(r.Address); err != nil {
		return d.Errf("redis: %w", err)
	}
	return conf.Block(d,
		conf.Text("username", &r.Username),
		conf.Value("password", &r.Password),
		conf.Number("db", &r.DB),
		conf.Flag("tls", &r.TLS),
		conf.Text("prefix", &r.Prefix),
		conf.Value("timeout", &r.Timeout),
		conf.Word("on_failure", &r.OnFailure, onFailure...),
	)
}
