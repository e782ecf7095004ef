// Package spoolpostgres keeps the spool in PostgreSQL, so that any number of nodes share one queue:
// each accepts, each delivers, and what a node that died had in hand is another's.
package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(PostgresSpool))
}

// PostgresSpool keeps accepted messages in a PostgreSQL database, which any number of nodes share.
// Acceptance is confirmed when the database has committed.
type PostgresSpool struct {
	// DSN is the connection string: postgres://msa@db.example.org/msa?sslmode=verify-full, or keywords
	// and values. Required. Placeholders such as {env.MSA_DSN} are resolved once, when the config is loaded.
	DSN string `json:"dsn,omitempty"`
	// Password to connect with, in place of one in the DSN; {env.*} and {file.*} keep it out of the config.
	Password conf.Secret `json:"password,omitempty"`
	// Schema of the tables, which are made in it. Default: msa.
	Schema string `json:"schema,omitempty"`
	// Pool is how many connections transactions have; five more are made for the rest, and four where
	// limits count in the spool. Default: 16.
	Pool int `json:"pool,omitempty"`
	// Node is this node's name in the database and the logs. Default: the host's name.
	Node string `json:"node,omitempty"`
	// Lease is how long others wait before they take over what a node had in hand that is no
	// longer heard of. Default: 60s; 3s or more.
	Lease conf.Duration `json:"lease,omitempty"`
	// Role of this node: "accept" leaves delivery to others, "deliver" takes no messages from clients, "both"
	// does both. Default: both.
	Role Role `json:"role,omitempty"`
	// Timeout is how long the database may take before a client hears 451 and comes again. Default: 15s; 3s or more.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// MaxMessages is how many messages the spool takes at most, all nodes together. Default: any number.
	MaxMessages int64 `json:"max_messages,omitempty"`
	// MaxSize is how many octets of messages the spool takes at most. Default: as the database holds.
	MaxSize int64 `json:"max_size,omitempty"`
	// Bodies is a bucket in S3 for messages that are larger than the database is to keep. Default: none.
	Bodies *Bodies `json:"bodies,omitempty"`

	options Options
}

// CaddyModule returns the Caddy module information.
func (*PostgresSpool) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "msa.spools.postgres",
		New: func() caddy.Module { return new(PostgresSpool) },
	}
}

// Provision checks the settings. It connects to nothing: a configuration can be validated elsewhere.
func (p *PostgresSpool) Provision(ctx caddy.Context) error {
	return p.resolve(terminal.Logger(ctx.Logger()))
}

func (p *PostgresSpool) resolve(log *zap.Logger) (err error) {
	if err := conf.ExpandAll(conf.Place("schema", &p.Schema)); err != nil {
		return err
	}
	o := Options{Schema: p.Schema, Pool: p.Pool, Node: p.Node, Role: p.Role, Lease: time.Duration(p.Lease), Timeout: time.Duration(p.Timeout),
		MaxMessages: p.MaxMessages, MaxOctets: p.MaxSize}
	if o.DSN, err = conf.Expand(p.DSN); err != nil {
		return fmt.Errorf("dsn: %w", err)
	}
	if o.DSN == "" {
		return errors.New("a connection string is required, as in spool postgres postgres://msa@db.example.org/msa?sslmode=verify-full")
	}
	password, err := p.Password.Resolve("password", log)
	if err != nil {
		return err
	}
	o.Password = password.Value()
	if o.Node, err = conf.Expand(p.Node); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if o.Node == "" {
		if o.Node, err = os.Hostname(); err != nil {
			return fmt.Errorf("node: the host's name is not known (%w); give one", err)
		}
	}
	if o.Pool < 0 || o.Pool > conf.MaxCount {
		return fmt.Errorf("pool must be from 1 to %d", conf.MaxCount)
	}
	if o.Lease != 0 && o.Lease < minLease {
		return fmt.Errorf("lease %s is too short: a busy moment would end it; give %s or more", o.Lease, minLease)
	}
	if o.Timeout != 0 && o.Timeout < minTimeout {
		return fmt.Errorf("timeout %s is too short: a busy moment of the database would end it; give %s or more", o.Timeout, minTimeout)
	}
	switch p.Role {
	case "", Both, Accept, Deliver:
	default:
		return fmt.Errorf("role %q is not one of accept, deliver and both", p.Role)
	}
	if p.MaxMessages < 0 || p.MaxSize < 0 {
		return errors.New("max_messages and max_size must not be negative; leave them out for no limit")
	}
	if o.Bodies = p.Bodies; o.Bodies != nil {
		if err := o.Bodies.provision(log, max(p.Pool, defaultPool)); err != nil {
			return fmt.Errorf("bodies s3: %w", err)
		}
	}
	if err := o.prepare(); err != nil {
		return err
	}
	if p.Password == "" && conf.Shows(o.config.ConnConfig.Password, p.DSN) {
		log.Warn(conf.DatabasePassword)
	}
	p.options = o
	return nil
}

const (
	minLease   = 3 * time.Second // so that a node that is merely slow does not lose what it has in hand
	minTimeout = 3 * time.Second
)

// Key names the server, the database and the schema, and no secret.
func (p *PostgresSpool) Key() string {
	c := &p.options.config.ConnConfig.Config
	return fmt.Sprintf("postgres:%s:%d/%s/%s", c.Host, c.Port, c.Database, p.options.Schema)
}

// Open connects, makes the tables or brings them up to date.
func (p *PostgresSpool) Open(ctx context.Context, log *zap.Logger) (queue.OpenSpool, error) {
	o := p.options
	o.Log = log
	s, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// OpensCounter implements caddymsa.SpoolCounter.
func (*PostgresSpool) OpensCounter() {}

// Adjust implements caddymsa.SpoolAdjuster.
func (p *PostgresSpool) Adjust(spool queue.OpenSpool) {
	if s, ok := spool.(*Store); ok {
		s.Adjust(p.options)
	}
}

// UnmarshalCaddyfile sets up the spool from Caddyfile tokens. Syntax:
//
//	spool postgres <dsn> {
//		password     <password>
//		schema       <name>
//		pool         <count>
//		node         <name>
//		role         accept|deliver|both
//		lease        <duration>
//		timeout      <duration>
//		max_messages <count>
//		max_size     <size>
//		bodies s3 <endpoint> <bucket> {
//			over    <size>
//			timeout <duration>
//			... as the sink s3 has them
//		}
//	}
func (p *PostgresSpool) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the spool's name
	if !d.NextArg() {
		return d.Err("spool postgres takes a connection string, as in spool postgres postgres://msa@db.example.org/msa?sslmode=verify-full")
	}
	p.DSN = d.Val()
	return conf.Block(d,
		conf.Value("password", &p.Password),
		conf.Text("schema", &p.Schema),
		conf.Count("pool", &p.Pool),
		conf.Text("node", &p.Node),
		conf.Text("role", (*string)(&p.Role)),
		conf.Value("lease", &p.Lease),
		conf.Value("timeout", &p.Timeout),
		conf.Count("max_messages", &p.MaxMessages),
		conf.Size("max_size", &p.MaxSize),
		conf.Func("bodies", func(d *caddyfile.Dispenser) error {
			p.Bodies = new(Bodies)
			return p.Bodies.unmarshalCaddyfile(d)
		}),
	)
}

// Interface guards
var (
	_ caddy.Provisioner      = (*PostgresSpool)(nil)
	_ caddyfile.Unmarshaler  = (*PostgresSpool)(nil)
	_ caddymsa.SpoolModule   = (*PostgresSpool)(nil)
	_ caddymsa.SpoolAdjuster = (*PostgresSpool)(nil)
	_ caddymsa.SpoolCounter  = (*PostgresSpool)(nil)
)
