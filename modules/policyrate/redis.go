package policyrate

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Redis is where several nodes share their buckets. Redis' clock counts.
type Redis struct {
	// Address is host:port, or the path of a unix socket. Required.
	Address string `json:"address,omitempty"`
	// Username and Password to log in with. Default: none.
	Username string      `json:"username,omitempty"`
	Password conf.Secret `json:"password,omitempty"`
	// DB is the database's number. Default: 0.
	DB int `json:"db,omitempty"`
	// TLS connects with TLS, and verifies the certificate.
	TLS bool `json:"tls,omitempty"`
	// Prefix of the keys. Default: "caddy-msa:rate:".
	Prefix string `json:"prefix,omitempty"`
	// Timeout is how long Redis may take. Default: 200ms.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// OnFailure is what happens when Redis does not answer: local (the default: this node's own
	// buckets), tempfail (451 4.3.0) or accept.
	OnFailure string `json:"on_failure,omitempty"`
}

// What happens when Redis does not answer.
const failLocal = "local"

var onFailure = []string{failLocal, caddymsa.FailTempfail, caddymsa.FailAccept}

// pause is how long Redis is left alone after it did not answer.
const pause = time.Second

// script takes from a bucket in one step. KEYS: the bucket. ARGV: cost and depth in microseconds,
// and what to do: take, peek or give. It returns the microseconds to wait, or 0.
var script = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local full = tonumber(redis.call('GET', KEYS[1]) or '0')
if full < now then full = now end
local cost, depth = tonumber(ARGV[1]), tonumber(ARGV[2])
if ARGV[3] == 'give' then cost = -cost end
local nxt = full + cost
if cost > 0 and nxt - now > depth then return math.ceil(nxt - now - depth) end
if ARGV[3] == 'peek' then return 0 end
if nxt <= now then
	redis.call('DEL', KEYS[1])
else
	redis.call('SET', KEYS[1], string.format('%.0f', nxt), 'PX', math.ceil((nxt - now) / 1000) + 1)
end
return 0
`)

// shared are buckets in Redis.
type shared struct {
	p      *RateLimit
	r      *Redis
	client *redis.Client
	down   atomic.Int64 // not asked before, in nanoseconds since 1970
}

func (r *Redis) open(p *RateLimit, log *zap.Logger) (buckets, error) {
	if r.Address == "" {
		return nil, errors.New("an address is required, such as 127.0.0.1:6379")
	}
	if r.OnFailure == "" {
		r.OnFailure = failLocal
	}
	if err := conf.OneOf(r.OnFailure, onFailure...); err != nil {
		return nil, fmt.Errorf("on_failure: %w", err)
	}
	if r.Timeout < 0 {
		return nil, errors.New("timeout: must not be negative")
	}
	if r.Timeout == 0 {
		r.Timeout = conf.Duration(200 * time.Millisecond)
	}
	if r.Prefix == "" {
		r.Prefix = "caddy-msa:rate:"
	}
	password, err := r.Password.Resolve("password", log)
	if err != nil {
		return nil, err
	}
	timeout := time.Duration(r.Timeout)
	o := &redis.Options{
		Addr: r.Address, Username: r.Username, Password: password.Value(), DB: r.DB,
		DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, PoolTimeout: timeout, ContextTimeoutEnabled: true, MaxRetries: -1,
		DisableIdentity: true,
	}
	if r.Address[0] == '/' {
		o.Network = "unix"
	}
	if r.TLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &shared{p: p, r: r, client: redis.NewClient(o)}, nil
}

func (s *shared) close() error { return s.client.Close() }

// key is a hash, so that no name breaks out of it or is too long.
func (s *shared) key(key string) string {
	sum := sha256.Sum256([]byte(s.p.id() + "\x00" + key))
	return s.r.Prefix + hex.EncodeToString(sum[:16])
}

func (s *shared) take(ctx context.Context, key string, cost, depth time.Duration, peek bool) (time.Duration, error) {
	do := "take"
	if peek {
		do = "peek"
	}
	wait, err := s.ask(ctx, key, cost, depth, do)
	if err == nil {
		return wait, nil
	}
	switch s.r.OnFailure {
	case caddymsa.FailAccept:
		return 0, nil
	case caddymsa.FailTempfail:
		return 0, fmt.Errorf("redis: %w", err)
	}
	return s.p.local.take(key, cost, depth, s.p.now(), peek), nil
}

// giveBack is for where the token came from; if Redis has come or gone since, that is some
// tokens too many or too few for a window.
func (s *shared) giveBack(key string, cost time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.r.Timeout))
	defer cancel()
	if _, err := s.ask(ctx, key, cost, 0, "give"); err != nil {
		s.p.local.giveBack(key, cost, s.p.now())
	}
}

var errPaused = errors.New("redis did not answer a moment ago")

// ask runs the script. After a failure Redis is left alone for a while, so that what does not
// answer does not slow every message.
func (s *shared) ask(ctx context.Context, key string, cost, depth time.Duration, do string) (time.Duration, error) {
	if s.p.now().UnixNano() < s.down.Load() {
		return 0, errPaused
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.r.Timeout))
	defer cancel()
	us, err := script.Run(ctx, s.client, []string{s.key(key)}, cost.Microseconds(), depth.Microseconds(), do).Int64()
	if err != nil {
		if s.down.Swap(s.p.now().Add(pause).UnixNano()) == 0 {
			s.p.log.Error("rate_limit: redis does not answer", zap.String("address", s.r.Address), zap.String("on_failure", s.r.OnFailure), zap.Error(err))
		}
		return 0, err
	}
	if s.down.Swap(0) != 0 {
		s.p.log.Info("rate_limit: redis answers again", zap.String("address", s.r.Address))
	}
	return time.Duration(us) * time.Microsecond, nil
}
