// Package sinkdiscard throws messages away.
package sinkdiscard

import (
	"context"
	"fmt"
	"io"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(Discard))
}

// Discard throws every message away that comes to it, as delivered: for tests of what comes before.
// It reads each whole, and says loudly in the log what it did.
type Discard struct {
	log *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Discard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.discard", New: func() caddy.Module { return new(Discard) }}
}

// Provision warns.
func (s *Discard) Provision(ctx caddy.Context) error {
	s.log = terminal.Logger(ctx.Logger())
	s.log.Warn("a route throws its messages away, which senders are told were accepted: discard is for tests")
	return nil
}

// Deliver reads the message and forgets it.
func (s *Discard) Deliver(ctx context.Context, d *queue.Delivery) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m, err := d.Open()
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	defer m.Close()
	n, err := io.Copy(io.Discard, m)
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	rcpts := make([]string, len(d.Recipients))
	for i, r := range d.Recipients {
		rcpts[i] = r.Address
	}
	s.log.Warn("message thrown away", zap.String("queue_id", d.Entry.ID), zap.Strings("recipients", rcpts), zap.Int64("size", n))
	return ctx.Err()
}

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	discard
func (s *Discard) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if d.NextArg() {
		return d.Errf("discard takes no value, found %q", d.Val())
	}
	return conf.Block(d)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Discard)(nil)
	_ queue.Sink            = (*Discard)(nil)
	_ caddyfile.Unmarshaler = (*Discard)(nil)
)
