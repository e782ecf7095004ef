// Package policyclamav has clamd look at messages.
package policyclamav

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(ClamAV))
}

// ClamAV gives each message to clamd, as a stream, and refuses one in which that finds something:
// 550 5.7.1, with the signature's name.
type ClamAV struct {
	// Addresses of clamd: unix//run/clamav/clamd.ctl, or 127.0.0.1:3310. Of several the first
	// counts that gives a verdict; one that gave none is asked last for a minute. Required.
	Addresses []string `json:"addresses,omitempty"`
	// ConnectTimeout is how long a connection may take. Default: 2s.
	ConnectTimeout conf.Duration `json:"connect_timeout,omitempty"`
	// Timeout is how long clamd may take for a message. Default: 1m.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// TooLarge is what happens to a message that is longer than clamd's StreamMaxLength: refuse
	// (552 5.3.4, the default) or accept.
	TooLarge string `json:"too_large,omitempty"`
	// OnFailure is what happens when clamd gives no verdict: tempfail (451 4.3.0, the default), refuse
	// (554 5.3.0) or accept.
	OnFailure string `json:"on_failure,omitempty"`

	addresses []caddy.NetworkAddress
	silent    []atomic.Int64 // until when each is asked last, in nanoseconds since 1970; 0: it gives verdicts
	now       func() time.Time
	log       *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*ClamAV) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.clamav", New: func() caddy.Module { return new(ClamAV) }}
}

// Provision parses the addresses. It does not connect.
func (p *ClamAV) Provision(ctx caddy.Context) error {
	p.log, p.now = terminal.Logger(ctx.Logger()), time.Now
	if err := p.provision(); err != nil {
		return fmt.Errorf("clamav: %w", err)
	}
	return nil
}

func (p *ClamAV) provision() error {
	if len(p.Addresses) == 0 {
		return errors.New("an address is required, such as unix//run/clamav/clamd.ctl")
	}
	for _, text := range p.Addresses {
		a, err := conf.Socket(text)
		if err != nil {
			return err
		}
		p.addresses = append(p.addresses, a)
	}
	p.silent = make([]atomic.Int64, len(p.addresses))
	if p.ConnectTimeout < 0 || p.Timeout < 0 {
		return errors.New("timeouts must not be negative")
	}
	if p.ConnectTimeout == 0 {
		p.ConnectTimeout = conf.Duration(2 * time.Second)
	}
	if p.Timeout == 0 {
		p.Timeout = conf.Duration(time.Minute)
	}
	switch p.TooLarge {
	case "":
		p.TooLarge = caddymsa.FailRefuse
	case caddymsa.FailRefuse, caddymsa.FailAccept:
	default:
		return fmt.Errorf("too_large: %q is neither refuse nor accept", p.TooLarge)
	}
	return caddymsa.CheckOnFailure(&p.OnFailure)
}

// CheckMessage asks clamd.
func (p *ClamAV) CheckMessage(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	found, err := p.scan(ctx, m)
	fields := []zap.Field{zap.String("session", s.Session), zap.String("queue_id", s.Entry.ID)}
	switch {
	case errors.Is(err, errMessage):
		return err
	case errors.Is(err, errTooLarge) && p.TooLarge == caddymsa.FailAccept:
		p.log.Warn("a message is too large for clamd and passes unchecked", append(fields, zap.Int64("size", m.Size))...)
		return nil
	case errors.Is(err, errTooLarge):
		return &caddymsa.Refusal{Code: 552, Status: smtp.EnhancedCode{5, 3, 4}, Rule: "too_large", Text: "Message is too large to be checked", Err: err}
	case err != nil:
		return caddymsa.Failed(ctx, p.OnFailure, err, p.log, fields...)
	case found != "":
		return caddymsa.Refuse(found, "Message contains malware")
	}
	return nil
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] clamav <addresses...> {
//		connect_timeout <duration>
//		timeout         <duration>
//		too_large       refuse | accept
//		on_failure      tempfail | accept | refuse
//	}
func (p *ClamAV) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if p.Addresses = d.RemainingArgs(); len(p.Addresses) == 0 {
		return d.Err("clamav takes an address, as in: policy clamav unix//run/clamav/clamd.ctl")
	}
	if err := conf.NoURL(p.Addresses...); err != nil {
		return d.Errf("clamav: %w", err)
	}
	return conf.Block(d,
		conf.Value("connect_timeout", &p.ConnectTimeout),
		conf.Value("timeout", &p.Timeout),
		conf.Word("too_large", &p.TooLarge, caddymsa.FailRefuse, caddymsa.FailAccept),
		conf.Word("on_failure", &p.OnFailure, caddymsa.OnFailure...),
	)
}

// Interface guards
var (
	_ caddy.Provisioner      = (*ClamAV)(nil)
	_ caddymsa.MessagePolicy = (*ClamAV)(nil)
	_ caddyfile.Unmarshaler  = (*ClamAV)(nil)
)
