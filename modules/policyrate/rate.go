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
//
// Amounts are numbers, or attributes of who submits: see conf.Amount.
type RateLimit struct {
	// Messages, Recipients and Bytes are how many there may be in a window. At least one is required, here, in Windows or
	// in PerMessage; zero: no limit.
	Messages   conf.Amount `json:"messages,omitempty"`
	Recipients conf.Amount `json:"recipients,omitempty"`
	Bytes      conf.Amount `json:"bytes,omitempty"`
	// Window is the time. Required with one of these.
	Window conf.Duration `json:"window,omitempty"`
	// Windows are more of them, such as a day beside an hour: what is submitted has to be within the amounts of each.
	Windows []Level `json:"windows,omitempty"`
	// PerMessage are the most of one message.
	PerMessage *PerMessage `json:"per_message,omitempty"`
	// Burst is how much of a window's amount may come at once, in percent. Default: 100.
	Burst int64 `json:"burst,omitempty"`
	// By is whose limit it is: each user (the default), network (the client's IPv4 address or IPv6
	// /64), sender_domain or recipient_domain; all who have one value of an attribute, as in
	// {msa.identity.attributes.org}, or who has none alone; or all together: server.
	By string `json:"by,omitempty"`
	// Case is how names of users, and values of attributes, compare: fold, without regard to case, or exact. Default fold.
	Case names.Case `json:"case,omitempty"`
	// Reject says that clients should not try again: 550 5.7.1.
	Reject bool `json:"reject,omitempty"`
	// Name is what the buckets are known by: policies of the same name, after a reload or on other
	// nodes that share them, are one. Default: made of the settings.
	Name string `json:"name,omitempty"`
	// Where several nodes share the buckets. Default: this process.
	sharing.Sharing

	levels     []level
	perMessage map[string]*conf.Allowance // by resource
	attribute  string                     // whose values have a bucket each
	shared     *sharing.Counts            // nil: the buckets are this process'
	local      *table
	now        func() time.Time
	log        *zap.Logger
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
	if err := p.resolve(); err != nil {
		return fmt.Errorf("rate_limit: %w", err)
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
	if p.Burst < 0 || p.Burst > 10000 {
		return errors.New("burst is from 1 to 10000 percent")
	}
	if p.Burst == 0 {
		p.Burst = 100
	}
	if p.By == "" {
		p.By = byUser
	}
	p.attribute, _ = conf.Attribute(p.By)
	if err := conf.OneOfOrAttribute(p.By, by...); err != nil {
		return fmt.Errorf("by: %w", err)
	}
	return nil
}

// id is what the policy's buckets are known by.
func (p *RateLimit) id() string {
	if p.Name != "" {
		return p.By + ":" + p.Name
	}
	id := fmt.Sprintf("%s:%s:%s:%s:%v:%d", p.By, p.Messages.Literal(), p.Recipients.Literal(), p.Bytes.Literal(), time.Duration(p.Window), p.Burst)
	for _, l := range p.Windows {
		id += fmt.Sprintf(":%s:%s:%s:%v", l.Messages.Literal(), l.Recipients.Literal(), l.Bytes.Literal(), time.Duration(l.Window))
	}
	return id
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
