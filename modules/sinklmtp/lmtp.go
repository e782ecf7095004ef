// Package sinklmtp hands messages to a mail store over LMTP.
package sinklmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(LMTP))
}

// LMTP hands messages to a mail store such as Dovecot over LMTP (RFC 2033), which answers for each
// recipient by itself: one mailbox that is full does not hold up the others, and nobody gets a copy
// twice. Recipients go as they are, with what follows a plus sign.
//
// 5yz replies fail a recipient for good; all else is tried again. 8-bit content that the store does not
// take fails with 5.6.3, internationalized addresses with 5.6.7.
type LMTP struct {
	// Address of the store: unix//run/dovecot/lmtp, or host:port. Required.
	Address string `json:"address,omitempty"`

	// TLS is "off" (the default for a unix socket and this machine) or "required" (the default
	// otherwise: STARTTLS with a verified certificate).
	TLS string `json:"tls,omitempty"`
	// TLSClient says how the store's certificate is checked, and what it is shown.
	conf.TLSClient

	// Concurrency is how many messages are handed over at once. Default: 20.
	Concurrency int `json:"concurrency,omitempty"`
	// MaxRecipients is how many recipients a message has at most when it is handed over; more go in
	// several transactions. Default: as many as the store takes.
	MaxRecipients int `json:"max_recipients,omitempty"`
	// Connections is how many idle connections are kept for the next message, for 30 seconds.
	// Default: as many as Concurrency; negative: none.
	Connections int `json:"connections,omitempty"`

	// ConnectTimeout is how long a connection may take. Default: 10s.
	ConnectTimeout conf.Duration `json:"connect_timeout,omitempty"`
	// Timeout is how long each reply may take, and each block of a message. Default: 1m.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// EndTimeout is how long each of the replies to the end of a message may take. Default: 10m.
	EndTimeout conf.Duration `json:"end_timeout,omitempty"`

	hop *nexthop.Hop
}

// CaddyModule returns the Caddy module information.
func (*LMTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.lmtp", New: func() caddy.Module { return new(LMTP) }}
}

// Provision resolves the configuration. It does not connect.
func (s *LMTP) Provision(ctx caddy.Context) error {
	if err := s.provision(terminal.Logger(ctx.Logger())); err != nil {
		return fmt.Errorf("lmtp: %w", err)
	}
	return nil
}

func (s *LMTP) provision(log *zap.Logger) error {
	if s.Address == "" {
		return errors.New("an address is required, such as unix//run/dovecot/lmtp or 127.0.0.1:24")
	}
	a, err := conf.Socket(s.Address)
	if err != nil {
		return err
	}
	network, address, host, local := "unix", a.Host, "localhost", true
	if !a.IsUnixNetwork() {
		if a.Host == "" {
			return fmt.Errorf("address %q: expected host:port or unix//path", s.Address)
		}
		network, address, host, local = "tcp", a.JoinHostPort(0), a.Host, conf.IsLoopback(a.Host)
	}
	if s.Concurrency < 0 || s.MaxRecipients < 0 {
		return errors.New("concurrency and max_recipients must be positive")
	}
	if s.Concurrency == 0 {
		s.Concurrency = 20
	}
	for _, d := range []struct {
		value *conf.Duration
		deflt time.Duration
	}{{&s.ConnectTimeout, 10 * time.Second}, {&s.Timeout, time.Minute}, {&s.EndTimeout, 10 * time.Minute}} {
		if *d.value < 0 {
			return errors.New("timeouts must be positive")
		}
		if *d.value == 0 {
			*d.value = conf.Duration(d.deflt)
		}
	}
	if s.Connections == 0 {
		s.Connections = s.Concurrency
	}
	o := &nexthop.Options{
		LMTP: true, Connect: time.Duration(s.ConnectTimeout), Command: time.Duration(s.Timeout), Data: time.Duration(s.Timeout), End: time.Duration(s.EndTimeout),
		Idle: s.Connections, IdleTimeout: 30 * time.Second, Messages: 1000, Recipients: s.MaxRecipients,
	}
	o.TLSMode = s.TLS
	if s.TLS == "" {
		o.TLSMode = nexthop.TLSRequired
		if local {
			o.TLSMode = nexthop.TLSOff
		}
	}
	switch o.TLSMode {
	case nexthop.TLSOff:
		if !s.TLSClient.IsZero() {
			return errors.New("tls is off: server_name, ca and client_certificate do nothing; remove them, or set tls required")
		}
		if !local {
			log.Warn("messages go to the mail store in clear", zap.String("address", address))
		}
	case nexthop.TLSRequired:
		if o.TLS, err = s.TLSClient.Config(); err != nil {
			return err
		}
		o.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	default:
		return fmt.Errorf("tls: %q is not one of required or off", s.TLS)
	}
	s.hop = nexthop.New(network, address, host, o)
	return nil
}

// Cleanup closes the idle connections.
func (s *LMTP) Cleanup() error {
	if s.hop != nil {
		s.hop.Close()
	}
	return nil
}

// Destination implements queue.Destinations.
func (s *LMTP) Destination(*queue.Entry, *queue.Recipient) queue.Destination {
	return queue.Destination{Name: s.hop.Address, Concurrency: s.Concurrency}
}

// Deliver hands the message over.
func (s *LMTP) Deliver(ctx context.Context, d *queue.Delivery) error {
	err := nexthop.Deliver(ctx, []*nexthop.Hop{s.hop}, d)
	if err == nil || nexthop.ReplyOf(err) != nil {
		return err
	}
	return fmt.Errorf("lmtp to %w", err)
}

// Interface guards
var (
	_ caddy.Provisioner  = (*LMTP)(nil)
	_ caddy.CleanerUpper = (*LMTP)(nil)
	_ queue.Destinations = (*LMTP)(nil)
	_ queue.Sink         = (*LMTP)(nil)
)
