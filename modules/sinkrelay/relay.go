// Package sinkrelay hands messages to a next hop over SMTP.
package sinkrelay

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(Relay))
}

// Relay hands messages to a next hop over SMTP, through STARTTLS with a verified certificate unless
// told otherwise: to one mail server that takes all of them, to others when that cannot be reached,
// or with MX to those of each recipient's domain. Connections are used for one message after the
// other.
//
// SIZE, 8BITMIME, SMTPUTF8, DSN (RET, ENVID, NOTIFY, ORCPT) and MT-PRIORITY go on to a next hop
// that offers them, and with PIPELINING a message takes two round trips. A message that a hop can
// not take fails for good: too large (552 5.3.4), 8-bit octets (554 5.6.3), non-ASCII addresses or
// header fields (553 and 550 5.6.7). Its own 5yz replies fail recipients for good as well; all else, a
// certificate that does not verify and a refused log-in included, is tried again. More recipients
// than it takes at once go in several transactions.
type Relay struct {
	// Host is the next hop as host:port. Required unless MX. Without a port it is 587, or
	// 465 where tls is implicit. {env.*} and {file.*} are resolved once, when the
	// config is loaded.
	Host string `json:"host,omitempty"`

	// FallbackHosts are asked in this order when those before cannot be reached. One that could
	// not is asked last for a minute.
	FallbackHosts []string `json:"fallback_hosts,omitempty"`

	// MX delivers to the mail exchangers of each recipient's domain (RFC 5321 section 5.1), on port
	// 25, in the place of a host. TLS is then opportunistic unless told otherwise.
	MX bool `json:"mx,omitempty"`

	// Resolver is the DNS server, as host:port, that MX and addresses of MX hosts are asked of. Default:
	// the system's.
	Resolver string `json:"resolver,omitempty"`

	// Concurrency is how many messages go to one destination (the hosts, or a recipient's domain)
	// at once. Default: 20; 4 with MX.
	Concurrency int `json:"concurrency,omitempty"`

	// Rate is how many messages go to one destination in a time, evenly spaced. Default: any
	// number.
	Rate *Rate `json:"rate,omitempty"`

	// TLS is "required" (the default: STARTTLS, and no message without it),
	// "implicit" (TLS from the first octet), "opportunistic" (STARTTLS where it is offered, with any
	// certificate: nobody who only listens can read it) or "off" (everything goes in clear).
	TLS string `json:"tls,omitempty"`

	// TLSClient says how the next hop's certificate is checked, and what it is shown.
	conf.TLSClient

	// InsecureSkipVerify takes any certificate. For tests: whoever stands
	// between can then read and change everything.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`

	// Auth is the account to log in with. Default: none.
	Auth *Auth `json:"auth,omitempty"`

	// Helo is the name said in EHLO. Default: the hostname of the server that
	// accepted the message.
	Helo string `json:"helo,omitempty"`

	// Bind is the IP address that connections come from. Default: the system's choice.
	Bind string `json:"bind,omitempty"`

	// Connections is how many idle connections are kept for the next message, to each host.
	// Default: as many as Concurrency; negative: none.
	Connections int `json:"connections,omitempty"`

	// IdleTimeout is how long an idle connection is kept. Default: 30s, and 4m for the last one to a
	// configured host, so that messages that come one at a time find it.
	IdleTimeout conf.Duration `json:"idle_timeout,omitempty"`

	// Messages is how many messages a connection takes. Default: 100. A next hop that announces fewer
	// (RFC 9422) gets fewer.
	Messages int `json:"messages,omitempty"`

	// MaxRecipients is how many recipients a message has at most when it is handed over; more go
	// in several transactions. Default: as many as the next hop takes, which it announces (RFC 9422)
	// or shows.
	MaxRecipients int `json:"max_recipients,omitempty"`

	// Timeouts say how long the next hop may take.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	options     nexthop.Options
	lastTimeout time.Duration
	hosts       []*nexthop.Hop // none with MX
	mx          *exchangers
}

// Rate is so many messages in a time.
type Rate struct {
	Messages int           `json:"messages,omitempty"`
	Per      conf.Duration `json:"per,omitempty"`
}

// Timeouts of a conversation. Most defaults are those of RFC 5321, section 4.5.3.2.
type Timeouts struct {
	// Connect is for the connection, the name look-up included. Default: 30s.
	Connect conf.Duration `json:"connect,omitempty"`
	// Greeting is for each of the greeting and the TLS handshake: a host that accepts connections and
	// says nothing is down. Default: 60s, or Command if that is less.
	Greeting conf.Duration `json:"greeting,omitempty"`
	// Command is for the reply to a command. Default: 5m.
	Command conf.Duration `json:"command,omitempty"`
	// Data is for each block of a message to be taken. Default: 3m.
	Data conf.Duration `json:"data,omitempty"`
	// End is for the reply to the end of a message. Default: 10m.
	End conf.Duration `json:"end,omitempty"`
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
	if err := r.provision(terminal.Logger(ctx.Logger())); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return nil
}

func (r *Relay) provision(log *zap.Logger) (err error) {
	if err := r.defaults(); err != nil {
		return err
	}
	if err := r.provisionOptions(log); err != nil {
		return err
	}
	repl := caddy.NewReplacer()
	if r.MX {
		if r.Host != "" || len(r.FallbackHosts) > 0 {
			return errors.New("mx asks DNS for the host: remove one of both")
		}
		r.mx, err = newExchangers(&r.options, r.Resolver)
		return err
	}
	if r.Host == "" {
		return errors.New("a host is required, such as smtp.example.net:587")
	}
	if r.Resolver != "" {
		return errors.New("resolver goes with mx; hosts are looked up as the system does")
	}
	for _, host := range append([]string{r.Host}, r.FallbackHosts...) {
		h, err := r.host(host, repl, log)
		if err != nil {
			return err
		}
		r.hosts = append(r.hosts, h)
	}
	return nil
}

const (
	idleTimeout = 30 * time.Second
	// lastTimeout is less than the five minutes that servers wait for a command (RFC 5321 section 4.5.3.2.7).
	lastTimeout = 4 * time.Minute
)

func (r *Relay) defaults() error {
	if err := conf.ExpandAll(conf.Place("bind", &r.Bind), conf.Place("helo", &r.Helo), conf.Place("resolver", &r.Resolver)); err != nil {
		return err
	}
	if r.IdleTimeout == 0 && !r.MX {
		r.lastTimeout = lastTimeout
	}
	for _, t := range []struct {
		name  string
		value *conf.Duration
		deflt time.Duration
	}{
		{"timeouts: connect", &r.Timeouts.Connect, 30 * time.Second},
		{"timeouts: command", &r.Timeouts.Command, 5 * time.Minute},
		{"timeouts: greeting", &r.Timeouts.Greeting, 0}, // the next hop's client knows
		{"timeouts: data", &r.Timeouts.Data, 3 * time.Minute},
		{"timeouts: end", &r.Timeouts.End, 10 * time.Minute},
		{"idle_timeout", &r.IdleTimeout, idleTimeout},
	} {
		if *t.value < 0 {
			return fmt.Errorf("%s: must be positive", t.name)
		}
		if *t.value == 0 {
			*t.value = conf.Duration(t.deflt)
		}
	}
	if r.Messages < 0 || r.Concurrency < 0 || r.MaxRecipients < 0 {
		return errors.New("messages, max_recipients and concurrency must be positive")
	}
	if r.Messages == 0 {
		r.Messages = 100
	}
	if r.Rate != nil && (r.Rate.Messages <= 0 || r.Rate.Per <= 0) {
		return errors.New("rate: a number of messages and a time are required, as in: rate 100 1m")
	}
	if r.Concurrency == 0 && r.MX {
		r.Concurrency = 4
	}
	if r.Concurrency == 0 {
		r.Concurrency = 20
	}
	if r.Connections == 0 {
		r.Connections = r.Concurrency
	}
	if r.Bind != "" && net.ParseIP(r.Bind) == nil {
		return fmt.Errorf("bind: %q is not an IP address", r.Bind)
	}
	return nil
}

// Cleanup closes the idle connections. Deliveries under way go on, and close
// theirs when they end.
func (r *Relay) Cleanup() error {
	for _, h := range r.hosts {
		h.Close()
	}
	if r.mx != nil {
		r.mx.close()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Relay)(nil)
	_ caddy.CleanerUpper = (*Relay)(nil)
	_ queue.Sink         = (*Relay)(nil)
	_ queue.Destinations = (*Relay)(nil)
)
