// Package nexthop hands messages to a mail server over SMTP or LMTP, on connections that are kept
// for a while. It is a client of its own on go-smtp's option and error types, and knows nothing
// of Caddy.
//
// A Message goes to a Hop, or to the first of several that can be reached. A connection takes
// one transaction after the other; a delivery makes as many of them as the hop's limits want. What became of
// each recipient is an Outcome, what went wrong a Failure, which tells the hop's faults from the message's.
package nexthop

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
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
	// Helo is the name in EHLO or LHLO. Default: the message's.
	Helo string
	// TLSMode is one of the modes above.
	TLSMode string
	// TLS without a ServerName has the hop's.
	TLS *tls.Config
	// Login authenticates; nil: not at all.
	Login *Login
	// SaidHELO, if not nil, is told of a connection that was begun with HELO, on which nothing is offered.
	SaidHELO func(host, address string)
	// Bind is the address that connections come from; nil: the system's choice.
	Bind net.Addr

	// Connect is how long a connection may take, its name look-up included; Greeting the greeting, and
	// the TLS handshake; Command the reply to a command, Data each block of a message, End the reply to
	// its end. Greeting's default is a minute, or Command: who accepts connections and says nothing does
	// not serve.
	Connect, Greeting, Command, Data, End time.Duration

	// Recipients is how many a transaction has at most; 0: as many as the hop takes.
	Recipients int

	// Idle is how many idle connections are kept, for IdleTimeout; the last one for LastTimeout, if
	// that is longer. Messages is how many each takes; 0: any number.
	Idle        int
	IdleTimeout time.Duration
	LastTimeout time.Duration
	Messages    int
}

func (o *Options) greeting() time.Duration {
	if o.Greeting > 0 {
		return o.Greeting
	}
	return min(o.Command, time.Minute)
}

// Hop is one mail server. It is safe for concurrent use.
type Hop struct {
	// Network is tcp or unix; Address host:port or a path.
	Network, Address string
	// Host is its name, for its certificate and for reports.
	Host string

	options *Options
	idle    pool

	mu         sync.Mutex
	down       time.Time // when it could not be reached
	singly     time.Time // since when it gets commands one at a time
	unanswered int       // envelopes, in a row
}

// New connects to nothing yet.
func New(network, address, host string, o *Options) *Hop {
	return &Hop{
		Network: network, Address: address, Host: host, options: o,
		idle: pool{max: o.Idle, timeout: o.IdleTimeout, last: max(o.IdleTimeout, o.LastTimeout)},
	}
}

// Close closes the idle connections. Deliveries under way go on, and close theirs when they end.
func (h *Hop) Close() { h.idle.close() }

// Deliver hands the message to all its recipients. The error, a *Failure unless the message could not
// be read, is for those without a report; they are the only ones that m has then.
func (h *Hop) Deliver(ctx context.Context, m *Message) error {
	err := h.deliver(ctx, m)
	failure := AsFailure(err)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = time.Time{}
	if failure != nil && failure.Lane {
		h.down = time.Now()
	}
	return err
}

// Down tells whether the hop could not be reached when it was last tried, less than a while before now.
func (h *Hop) Down(now time.Time, while time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.down.IsZero() && now.Sub(h.down) < while
}
