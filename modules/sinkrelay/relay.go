// Package sinkrelay hands messages to a next hop over SMTP.
package sinkrelay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(Relay))
}

// Relay hands messages to one next hop, a mail server that takes all of them,
// over SMTP: through STARTTLS with a verified certificate unless told otherwise.
// Connections are used for one message after the other.
//
// SIZE, 8BITMIME, SMTPUTF8 and DSN (RET, ENVID, NOTIFY, ORCPT) go on to a next hop
// that offers them. A message that it can therefore not take fails for good:
// too large (552 5.3.4), 8-bit octets (554 5.6.3), non-ASCII addresses or header
// fields (553 and 550 5.6.7). Its own 5yz replies fail recipients for good as
// well; all else, a certificate that does not verify and a refused log-in
// included, is tried again.
type Relay struct {
	// Host is the next hop as host:port. Required. Without a port it is 587, or
	// 465 where tls is implicit. {env.*} and {file.*} are resolved once, when the
	// config is loaded.
	Host string `json:"host,omitempty"`

	// TLS is "required" (the default: STARTTLS, and no message without it),
	// "implicit" (TLS from the first octet) or "off" (everything goes in clear).
	TLS string `json:"tls,omitempty"`

	// TLSServerName is the name that the certificate must have. Default: the host.
	TLSServerName string `json:"tls_server_name,omitempty"`

	// TrustedRoots are PEM files with the CA certificates to trust in place of
	// the system's. They are read when the config is loaded.
	TrustedRoots []string `json:"trusted_roots,omitempty"`

	// InsecureSkipVerify takes any certificate. For tests: whoever stands
	// between can then read and change everything.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`

	// Auth is the account to log in with. Default: none.
	Auth *Auth `json:"auth,omitempty"`

	// Helo is the name said in EHLO. Default: the hostname of the server that
	// accepted the message.
	Helo string `json:"helo,omitempty"`

	// Connections is how many idle connections are kept for the next message.
	// Default: 16; negative: none.
	Connections int `json:"connections,omitempty"`

	// IdleTimeout is how long an idle connection is kept. Default: 30s.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// Messages is how many messages a connection takes. Default: 100.
	Messages int `json:"messages,omitempty"`

	// Timeouts say how long the next hop may take.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	dialer dialer
	idle   pool
}

// Timeouts of a conversation. The defaults are those of RFC 5321, section 4.5.3.2.
type Timeouts struct {
	// Connect is for the connection, the name look-up included. Default: 30s.
	Connect caddy.Duration `json:"connect,omitempty"`
	// Command is for the reply to a command, and for each of the greeting and
	// the TLS handshake. Default: 5m.
	Command caddy.Duration `json:"command,omitempty"`
	// Data is for each block of a message to be taken. Default: 3m.
	Data caddy.Duration `json:"data,omitempty"`
	// End is for the reply to the end of a message. Default: 10m.
	End caddy.Duration `json:"end,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Relay) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "msa.sinks.relay",
		New: func() caddy.Module { return new(Relay) },
	}
}

// Provision resolves the configuration. It does not connect.
func (r *Relay) Provision(ctx caddy.Context) error {
	if err := r.provision(ctx.Logger()); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return nil
}

func (r *Relay) provision(log *zap.Logger) (err error) {
	for _, t := range []struct {
		name  string
		value *caddy.Duration
		deflt time.Duration
	}{
		{"timeouts: connect", &r.Timeouts.Connect, 30 * time.Second},
		{"timeouts: command", &r.Timeouts.Command, 5 * time.Minute},
		{"timeouts: data", &r.Timeouts.Data, 3 * time.Minute},
		{"timeouts: end", &r.Timeouts.End, 10 * time.Minute},
		{"idle_timeout", &r.IdleTimeout, 30 * time.Second},
	} {
		if *t.value < 0 {
			return fmt.Errorf("%s: must be positive", t.name)
		}
		if *t.value == 0 {
			*t.value = caddy.Duration(t.deflt)
		}
	}
	if r.Messages < 0 {
		return errors.New("messages: must be positive")
	}
	if r.Messages == 0 {
		r.Messages = 100
	}
	if r.Connections == 0 {
		r.Connections = 16
	}
	r.idle.max, r.idle.timeout = r.Connections, time.Duration(r.IdleTimeout)
	r.dialer, err = newDialer(r, log)
	return err
}

// Cleanup closes the idle connections. Deliveries under way go on, and close
// theirs when they end.
func (r *Relay) Cleanup() error {
	r.idle.close()
	return nil
}

// Deliver sends the message to all recipients at once. An idle connection that
// turns out to be dead before the next hop has answered anything is replaced.
func (r *Relay) Deliver(ctx context.Context, d *queue.Delivery) error {
	p := r.idle.get()
	for {
		for _, rcpt := range d.Recipients {
			rcpt.RemoteMTA = "" // whoever said so last time
		}
		reused := p != nil
		if !reused {
			var err error
			if p, err = r.dialer.dial(ctx, d.Entry.Server); err != nil {
				return r.outcome(ctx, err)
			}
		}
		release := p.conn.abortWith(ctx)
		s := session{peer: p, delivery: d, mta: r.dialer.host}
		err := s.run()
		if alive := release(); alive && s.usable && p.sent < r.Messages {
			r.idle.put(p)
		} else {
			p.close(alive && s.usable)
		}
		if reused && s.dead && ctx.Err() == nil {
			p = nil
			continue
		}
		return r.outcome(ctx, err)
	}
}

// outcome leaves a reply as it is and says where anything else happened.
func (r *Relay) outcome(ctx context.Context, err error) error {
	if err == nil || replyOf(err) != nil {
		return err
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	return fmt.Errorf("relay to %s: %w", r.dialer.address, err)
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Relay)(nil)
	_ caddy.CleanerUpper = (*Relay)(nil)
	_ queue.Sink         = (*Relay)(nil)
)
