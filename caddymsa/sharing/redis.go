package sharing

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

// Redis is a server of Redis, or one that speaks its protocol. Its clock counts.
type Redis struct {
	// Address is host:port, or the path of a unix socket, as unix//run/redis.sock or as Redis has it. Required.
	Address string `json:"address,omitempty"`
	// Username and Password to log in with. Default: none.
	Username string      `json:"username,omitempty"`
	Password conf.Secret `json:"password,omitempty"`
	// DB is the database's number. Default: 0.
	DB int `json:"db,omitempty"`
	// TLS connects with TLS, and verifies the certificate.
	TLS bool `json:"tls,omitempty"`
	// Prefix of the keys. Default: "caddy-msa:" and the limit's name, as in "caddy-msa:rate:".
	Prefix string `json:"prefix,omitempty"`
	// Timeout is how long Redis may take. Default: 200ms.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// OnFailure is what happens when Redis does not answer: local (the default: this node's
	// own count), tempfail (451 4.3.0) or accept.
	OnFailure string `json:"on_failure,omitempty"`
}

func init() { redis.SetLogger(clientLog{}) }

// clientLog has what the client says of itself, a line for each connection that cannot be made, in Caddy's log at level DEBUG. By default it
// goes to stderr as it is, whatever the log is.
type clientLog struct{}

// Printf implements the client's interface for logs.
func (clientLog) Printf(_ context.Context, format string, v ...any) {
	if line := caddy.Log().Named("redis").Check(zap.DebugLevel, "client"); line != nil {
		line.Write(zap.String("text", fmt.Sprintf(format, v...)))
	}
}

func (r *Redis) open(limit string, log *zap.Logger) (*Counts, error) {
	if r.Address == "" {
		return nil, errors.New("an address is required, such as 127.0.0.1:6379")
	}
	if err := conf.ExpandAll(conf.Place("address", &r.Address), conf.Place("username", &r.Username), conf.Place("prefix", &r.Prefix)); err != nil {
		return nil, err
	}
	if r.DB < 0 {
		return nil, errors.New("db: must not be negative; leave it out for the database 0")
	}
	network, address := "unix", r.Address
	if address[0] != '/' {
		a, err := conf.Socket(address)
		if err != nil {
			return nil, err
		}
		if a.IsUnixNetwork() {
			address = a.Host
		} else {
			network = "tcp"
		}
	}
	c := &Counts{where: "redis", prefix: r.Prefix}
	if err := c.set(r.Timeout, r.OnFailure); err != nil {
		return nil, err
	}
	if c.prefix == "" {
		c.prefix = "caddy-msa:" + limit + ":"
	}
	password, err := r.Password.Resolve("password", log)
	if err != nil {
		return nil, err
	}
	o := &redis.Options{
		Network: network, Addr: address, Username: r.Username, Password: password.Value(), DB: r.DB,
		DialTimeout: c.timeout, ReadTimeout: c.timeout, WriteTimeout: c.timeout, PoolTimeout: c.timeout, ContextTimeoutEnabled: true, MaxRetries: -1,
		DialerRetries:   1, // more of them, with pauses, would be longer than the timeout, and all that is known be that it was over
		DisableIdentity: true,
	}
	if r.TLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	c.store = &redisCounts{redis.NewClient(o)}
	return c, nil
}

// redisCounts are counts in Redis. One that passes is stored as the moment at which nothing is left of it, in microseconds.
type redisCounts struct{ client *redis.Client }

// script makes changes in one step. KEYS: the counts. ARGV, for each of them: what is added, the most, whether it is only looked,
// and for how many milliseconds the count is kept, or 0. It returns for each what there is, and whether there was no room.
var script = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local found = {}
for i, key in ipairs(KEYS) do
	local add, most, look, keep = tonumber(ARGV[4*i-3]), tonumber(ARGV[4*i-2]), ARGV[4*i-1] == '1', tonumber(ARGV[4*i])
	local empty = keep == 0 and now or 0
	local level = math.max(tonumber(redis.call('GET', key) or '0'), empty)
	local nxt = math.max(level + add, empty)
	local full = add > 0 and most > 0 and nxt - empty > most
	if add ~= 0 and not look and not full then
		level = nxt
		if nxt == empty then
			redis.call('DEL', key)
		else
			redis.call('SET', key, string.format('%.0f', nxt), 'PX', keep > 0 and keep or math.ceil((nxt - now) / 1000) + 1)
		end
	end
	found[2*i-1], found[2*i] = level - empty, full and 1 or 0
end
return found
`)

// Count implements counts.Counter.
func (r *redisCounts) Count(ctx context.Context, changes ...counts.Change) ([]counts.Count, error) {
	keys, args := make([]string, len(changes)), make([]any, 0, 4*len(changes))
	for i, c := range changes {
		keys[i] = c.Key
		keep := c.Keep.Milliseconds()
		if c.Keep > 0 {
			keep = max(1, keep)
		}
		args = append(args, c.Add, c.Max, c.Look, keep)
	}
	found, err := script.Run(ctx, r.client, keys, args...).Int64Slice()
	if err != nil {
		return nil, err
	}
	if len(found) != 2*len(changes) {
		return nil, fmt.Errorf("%d numbers of %d counts", len(found), len(changes))
	}
	all := make([]counts.Count, len(changes))
	for i := range all {
		all[i] = counts.Count{Level: found[2*i], Full: found[2*i+1] == 1}
	}
	return all, nil
}
