// Package policymilter asks milters, the content filters of Sendmail and Postfix, about submissions.
package policymilter

import (
	"context"
	"errors"
	"fmt"
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
	caddy.RegisterModule(new(Milter))
}

// Milter takes submissions through a milter, such as rspamd, OpenDKIM or clamav-milter: the
// connection, HELO, MAIL, each RCPT, the header and the body. Header fields that it adds go before
// the message, all of them, since nothing that was submitted is changed. Of what it wants changed
// nothing is done: OnChange says what becomes of the message then.
//
// The library is d--j/go-milter and not emersion/go-milter: it negotiates macros and speaks version 6
// of the protocol, so that a milter can skip what it does not want to see.
type Milter struct {
	// Address of the milter: unix//run/opendkim/opendkim.sock, or 127.0.0.1:11332. Required.
	Address string `json:"address,omitempty"`
	// ConnectTimeout is how long the connection may take. Default: 5s.
	ConnectTimeout conf.Duration `json:"connect_timeout,omitempty"`
	// Timeout is how long an answer may take. Default: 10s.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// EndTimeout is how long the answer to the end of the message may take. Default: 1m.
	EndTimeout conf.Duration `json:"end_timeout,omitempty"`
	// OnFailure is what happens when the milter does not answer, or not as it should: tempfail (451
	// 4.3.0, the default), refuse (554 5.3.0) or accept.
	OnFailure string `json:"on_failure,omitempty"`
	// OnChange is what happens when the milter wants something changed that was submitted, a header
	// field, the body, the sender or the recipients: ignore (the default; the log says what it
	// was), tempfail (451 4.3.0) or refuse (554 5.7.1).
	OnChange string `json:"on_change,omitempty"`

	dialer *dialer
	log    *zap.Logger
}

const changeIgnore = "ignore"

// onChange are the words of the setting on_change. reject is what milters call refusing.
var onChange = []string{changeIgnore, caddymsa.FailTempfail, caddymsa.FailRefuse, "reject"}

// CaddyModule returns the Caddy module information.
func (*Milter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.milter", New: func() caddy.Module { return new(Milter) }}
}

// Provision parses the address. It does not connect.
func (p *Milter) Provision(ctx caddy.Context) error {
	p.log = terminal.Logger(ctx.Logger())
	if err := p.provision(); err != nil {
		return fmt.Errorf("milter: %w", err)
	}
	return nil
}

func (p *Milter) provision() error {
	if p.Address == "" {
		return errors.New("an address is required, such as 127.0.0.1:11332 or unix//run/rspamd/milter.sock")
	}
	a, err := conf.Socket(p.Address)
	if err != nil {
		return err
	}
	network, address := "unix", a.Host
	if !a.IsUnixNetwork() {
		network, address = "tcp", a.JoinHostPort(0)
	}
	for _, d := range []struct {
		value *conf.Duration
		deflt time.Duration
	}{{&p.ConnectTimeout, 5 * time.Second}, {&p.Timeout, 10 * time.Second}, {&p.EndTimeout, time.Minute}} {
		if *d.value < 0 {
			return errors.New("timeouts must not be negative")
		}
		if *d.value == 0 {
			*d.value = conf.Duration(d.deflt)
		}
	}
	switch p.OnChange {
	case "":
		p.OnChange = changeIgnore
	case "reject":
		p.OnChange = caddymsa.FailRefuse
	}
	if err := conf.OneOf(p.OnChange, onChange...); err != nil {
		return fmt.Errorf("on_change: %w", err)
	}
	p.dialer = &dialer{network: network, address: address, timeout: time.Duration(p.ConnectTimeout)}
	return caddymsa.CheckOnFailure(&p.OnFailure)
}

// CheckSender begins the conversation.
func (p *Milter) CheckSender(ctx context.Context, s *caddymsa.Submission) error {
	return p.within(ctx, s, func(c *conversation) error { return c.mail(ctx, s) })
}

// CheckRecipient names a recipient.
func (p *Milter) CheckRecipient(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient) error {
	return p.within(ctx, s, func(c *conversation) error { return c.rcpt(ctx, s, r) })
}

// CheckMessage gives the milter the message, and all that it has not been told before.
func (p *Milter) CheckMessage(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	return p.within(ctx, s, func(c *conversation) error { return c.message(ctx, s, m) })
}

// within calls f with the submission's conversation, for as long as ctx lasts.
func (p *Milter) within(ctx context.Context, s *caddymsa.Submission, f func(*conversation) error) error {
	c, _ := s.Value(p).(*conversation)
	if c == nil {
		c = &conversation{p: p, told: make(map[string]bool)}
		s.SetValue(p, c)
		s.OnEnd(func(bool) { c.close() })
	}
	if c.accepted {
		return nil
	}
	if c.failed != nil {
		return caddymsa.Failed(ctx, p.OnFailure, c.failed, p.log, fields(s)...)
	}
	stop := context.AfterFunc(ctx, c.interrupt)
	err := f(c)
	stop()
	if failure, ok := errors.AsType[*failure](err); ok {
		c.failed = fmt.Errorf("milter %s: %w", p.Address, failure.error)
		c.close()
		return caddymsa.Failed(ctx, p.OnFailure, c.failed, p.log, fields(s)...)
	}
	return err
}

// failure is the milter's, as against its verdict and the spool's failure.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

func fields(s *caddymsa.Submission) []zap.Field {
	return []zap.Field{zap.String("session", s.Session), zap.String("queue_id", s.Entry.ID)}
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] milter <address> {
//		connect_timeout <duration>
//		timeout         <duration>
//		end_timeout     <duration>
//		on_failure      tempfail | accept | refuse
//		on_change       ignore | tempfail | refuse
//	}
func (p *Milter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if !d.AllArgs(&p.Address) {
		return d.Err("milter takes an address, as in: policy milter 127.0.0.1:11332")
	}
	if err := conf.NoURL(p.Address); err != nil {
		return d.Errf("milter: %w", err)
	}
	return conf.Block(d,
		conf.Value("connect_timeout", &p.ConnectTimeout),
		conf.Value("timeout", &p.Timeout),
		conf.Value("end_timeout", &p.EndTimeout),
		conf.Word("on_failure", &p.OnFailure, caddymsa.OnFailure...),
		conf.Word("on_change", &p.OnChange, onChange...),
	)
}

// Interface guards
var (
	_ caddy.Provisioner        = (*Milter)(nil)
	_ caddymsa.SenderPolicy    = (*Milter)(nil)
	_ caddymsa.RecipientPolicy = (*Milter)(nil)
	_ caddymsa.MessagePolicy   = (*Milter)(nil)
	_ caddyfile.Unmarshaler    = (*Milter)(nil)
)
