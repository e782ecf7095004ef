// Package policyrate limits how much is submitted in a time.
package policyrate

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(RateLimit))
}

// RateLimit limits messages, recipients and octets in a window of time with token buckets: what
// is taken comes back steadily, so that a burst may be followed by a steady stream. Over the
// limit the client hears 450 4.7.1 with when to come back, or 550 5.7.1. What is refused,
// by whatever policy, is given back. There is no limit without this policy.
type RateLimit struct {
	// Messages, Recipients and Bytes are how many there may be in a window. At least one is required;
	// zero: no limit.
	Messages   int64 `json:"messages,omitempty"`
	Recipients int64 `json:"recipients,omitempty"`
	Bytes      int64 `json:"bytes,omitempty"`
	// Window is the time. Required.
	Window conf.Duration `json:"window,omitempty"`
	// Burst is how much of a window's amount may come at once, in percent. Default: 100.
	Burst int64 `json:"burst,omitempty"`
	// By is whose limit it is: each user (the default), network (the client's IPv4 address or IPv6
	// /64), sender_domain or recipient_domain; or all together: server.
	By string `json:"by,omitempty"`
	// Case is how names of users compare: fold, without regard to case, or exact. Default fold.
	Case names.Case `json:"case,omitempty"`
	// Reject says that clients should not try again: 550 5.7.1.
	Reject bool `json:"reject,omitempty"`
	// Name is what the buckets are known by: policies of the same name, after a reload or on other
	// nodes that share them, are one. Default: made of the settings.
	Name string `json:"name,omitempty"`
	// Where several nodes share the buckets. Default: this process.
	sharing.Sharing

	rates  map[string]rate // by resource
	shared *sharing.Counts // nil: the buckets are this process'
	local  *table
	now    func() time.Time
	log    *zap.Logger
}

// Resources, which are rules too.
const (
	messages   = "messages"
	recipients = "recipients"
	octets     = "bytes"
)

// Whose limit it is.
const (
	byUser            = "user"
	byNetwork         = "network"
	bySenderDomain    = "sender_domain"
	byRecipientDomain = "recipient_domain"
	byServer          = "server"
)

var by = []string{byUser, byNetwork, bySenderDomain, byRecipientDomain, byServer}

// tables are the buckets of this process.
var tables = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*RateLimit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.rate_limit", New: func() caddy.Module { return new(RateLimit) }}
}

// Provision takes up the buckets. Redis need not be there yet.
func (p *RateLimit) Provision(ctx caddy.Context) error {
	p.now, p.log = time.Now, terminal.Logger(ctx.Logger())
	if err := p.check(); err != nil {
		return fmt.Errorf("rate_limit: %w", err)
	}
	p.rates = make(map[string]rate)
	for name, limit := range map[string]int64{messages: p.Messages, recipients: p.Recipients, octets: p.Bytes} {
		if limit > 0 {
			p.rates[name] = rate{limit: limit, burst: max(1, limit*p.Burst/100), window: time.Duration(p.Window)}
		}
	}
	v, _, err := tables.LoadOrNew(p.id(), func() (caddy.Destructor, error) { return newTable(), nil })
	if err != nil {
		return err
	}
	p.local = v.(*table)
	if p.shared, err = p.Open("rate", p.log); err != nil {
		return fmt.Errorf("rate_limit: %w", err)
	}
	return nil
}

func (p *RateLimit) check() error {
	if p.Messages < 0 || p.Recipients < 0 || p.Bytes < 0 || p.Burst < 0 || p.Burst > 10000 {
		return errors.New("limits must not be negative, and burst is from 1 to 10000 percent")
	}
	if p.Messages+p.Recipients+p.Bytes == 0 {
		return errors.New("messages, recipients or bytes is required, as in: messages 60")
	}
	if p.Window <= 0 {
		return errors.New("a window is required, as in: window 1m")
	}
	if p.Burst == 0 {
		p.Burst = 100
	}
	if p.By == "" {
		p.By = byUser
	}
	if err := conf.OneOf(p.By, by...); err != nil {
		return fmt.Errorf("by: %w", err)
	}
	return nil
}

// id is what the policy's buckets are known by.
func (p *RateLimit) id() string {
	if p.Name != "" {
		return p.By + ":" + p.Name
	}
	return fmt.Sprintf("%s:%d:%d:%d:%v:%d", p.By, p.Messages, p.Recipients, p.Bytes, time.Duration(p.Window), p.Burst)
}

// Cleanup gives the buckets up.
func (p *RateLimit) Cleanup() error {
	if p.local != nil {
		_, _ = tables.Delete(p.id())
	}
	return p.shared.Close()
}

// Interface guards
var (
	_ caddy.Provisioner        = (*RateLimit)(nil)
	_ caddy.CleanerUpper       = (*RateLimit)(nil)
	_ caddymsa.SenderPolicy    = (*RateLimit)(nil)
	_ caddymsa.RecipientPolicy = (*RateLimit)(nil)
	_ caddymsa.MessagePolicy   = (*RateLimit)(nil)
	_ caddymsa.SpoolCounting   = (*RateLimit)(nil)
)
