// Package nexthop hands messages to a mail server over SMTP or LMTP: one message after the other on
// connections that are kept for a while. It knows nothing of Caddy.
package nexthop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// TLS modes.
const (
	TLSRequired      = "required"      // STARTTLS with a verified certificate
	TLSImplicit      = "implicit"      // from the first octet, with a verified certificate
	TLSOpportunistic = "opportunistic" // STARTTLS where it is offered, with any certificate (RFC 7435)
	TLSOff           = "off"
)

// Options say how to speak to next hops. They are not changed while hops use them.
type Options struct {
	LMTP bool
	// Helo is the name in EHLO or LHLO. Default: the server's that accepted the message.
	Helo string
	// TLSMode is one of the modes above.
	TLSMode string
	// TLS without a ServerName has the hop's.
	TLS *tls.Config
	// Login authenticates; nil: not at all. Its error must not be an *smtp.SMTPError: that our account
	// is refused is no fault of the messages.
	Login func(ctx context.Context, c *smtp.Client, host string) error
	// Bind is the address that connections come from; nil: the system's choice.
	Bind net.Addr

	// Connect is how long a connection may take, its name look-up included; Command the reply to
	// a command, Data each block of a message, End the reply to its end.
	Connect, Command, Data, End time.Duration

	// Idle is how many idle connections are kept, for IdleTimeout; Messages how many each takes.
	Idle        int
	IdleTimeout time.Duration
	Messages    int
}

// Hop is one mail server. It is safe for concurrent use.
type Hop struct {
	// Network is tcp or unix; Address host:port or a path.
	Network, Address string
	// Host is its name, for its certificate and for reports.
	Host string

	options *Options
	idle    pool

	mu   sync.Mutex
	down time.Time // when it could not be reached
}

// New connects to nothing yet.
func New(network, address, host string, o *Options) *Hop {
	return &Hop{Network: network, Address: address, Host: host, options: o, idle: pool{max: o.Idle, timeout: o.IdleTimeout}}
}

// Close closes the idle connections. Deliveries under way go on, and close theirs when they end.
func (h *Hop) Close() { h.idle.close() }

// Down tells whether the hop could not be reached when it was last tried, less than a while before now.
func (h *Hop) Down(now time.Time, while time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.down.IsZero() && now.Sub(h.down) < while
}

func (h *Hop) reached(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down = (time.Time{}); queue.IsUnreachable(err) {
		h.down = time.Now()
	}
}

// Deliver sends the message to all recipients of the delivery at once. An idle connection that
// turns out to be dead before the hop has answered anything is replaced. An error is
// queue.Unreachable when the hop has seen nothing of the message, so that another may be tried.
func (h *Hop) Deliver(ctx context.Context, d *queue.Delivery) error {
	p := h.idle.get()
	for {
		for _, rcpt := range d.Recipients {
			rcpt.RemoteMTA = "" // whoever said so last time
		}
		reused := p != nil
		if !reused {
			var err error
			if p, err = h.dial(ctx, d.Entry.Server); err != nil {
				err = h.outcome(ctx, err)
				if ctx.Err() == nil {
					err = queue.Unreachable(err)
				}
				h.reached(err)
				return err
			}
		}
		release := p.conn.abortWith(ctx)
		s := session{peer: p, delivery: d, mta: h.Host, lmtp: h.options.LMTP}
		err := s.run()
		if alive := release(); alive && s.usable && p.sent < h.options.Messages {
			h.idle.put(p)
		} else {
			p.close(alive && s.usable)
		}
		if s.dead && ctx.Err() == nil {
			if reused {
				p = nil
				continue
			}
			err = queue.Unreachable(err)
		}
		h.reached(err)
		return h.outcome(ctx, err)
	}
}

// outcome leaves a reply as it is and says where anything else happened.
func (h *Hop) outcome(ctx context.Context, err error) error {
	if err == nil || ReplyOf(err) != nil {
		return err
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	return fmt.Errorf("%s: %w", h.Address, err)
}
