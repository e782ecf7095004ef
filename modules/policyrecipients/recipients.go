// Package policyrecipients says to whom messages may be submitted, and to how many.
package policyrecipients

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(Recipients))
}

// Recipients refuses recipients, each by itself: those on a deny list, or not on an allow list
// where there is one, 550 5.7.1; those beyond the most of a message, 452 4.5.3, so that the client
// sends the message again to the rest (RFC 5321 section 4.5.3.1.10); those beyond a user's most
// of a day, 450 4.7.1 with when to come back.
//
// Lists hold domains (example.org, *.example.org, *) and addresses (bob@example.org with its
// plus-addresses, *@*.example.org), and placeholders for attributes of who submits that hold such, separated by commas or
// spaces: {msa.identity.attributes.partners}. However long they are, a look-up takes the same time.
type Recipients struct {
	// Allow are the recipients that are taken; all others are refused. Default: all are taken.
	Allow []string `json:"allow,omitempty"`
	// AllowFiles are files with more of them, one a line, # for comments before or behind. They are read again
	// when they change; one that cannot be read leaves what was read before. Placeholders in paths are resolved once, when the
	// config is loaded.
	AllowFiles []string `json:"allow_files,omitempty"`
	// Deny are recipients that are refused, whatever Allow says.
	Deny []string `json:"deny,omitempty"`
	// DenyFiles are files with more of them.
	DenyFiles []string `json:"deny_files,omitempty"`

	// Case is how local parts of addresses compare, and names of users for MaxPerDay: fold, without regard to case,
	// or exact. Default fold.
	Case names.Case `json:"case,omitempty"`

	// MaxPerMessage is the most recipients of a message. Default: the server's limit.
	MaxPerMessage conf.Amount `json:"max_per_message,omitempty"`
	// MaxPerDay is the most recipients that a user's accepted messages may have in a day. The
	// count outlives reloads, and restarts where nodes share it. Default: any number.
	MaxPerDay conf.Amount `json:"max_per_day,omitempty"`
	// Timezone is whose midnight ends the day. Default: UTC.
	Timezone string `json:"timezone,omitempty"`
	// Name tells the daily counts of several such policies apart. Those of the same name share one.
	Name string `json:"name,omitempty"`
	// Where several nodes share the daily counts. Default: this process.
	sharing.Sharing

	allow, deny *list
	perMessage  *conf.Allowance
	perDay      *conf.Allowance
	zone        *time.Location
	now         func() time.Time
	days        *days
	shared      *sharing.Counts // nil: the days are this process'
	log         *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Recipients) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.recipients", New: func() caddy.Module { return new(Recipients) }}
}

// Provision reads the lists.
func (p *Recipients) Provision(ctx caddy.Context) (err error) {
	p.log, p.now = terminal.Logger(ctx.Logger()), time.Now
	if p.perMessage, err = p.MaxPerMessage.Resolve("max_per_message", conf.Pieces, p.log); err != nil {
		return fmt.Errorf("recipients: %w", err)
	}
	if p.perDay, err = p.MaxPerDay.Resolve("max_per_day", conf.Pieces, p.log); err != nil {
		return fmt.Errorf("recipients: %w", err)
	}
	if len(p.Allow)+len(p.AllowFiles)+len(p.Deny)+len(p.DenyFiles) == 0 && p.perMessage == nil && p.perDay == nil {
		return errors.New("recipients: nothing is limited; set allow, deny, max_per_message or max_per_day")
	}
	if p.zone, err = time.LoadLocation(p.Timezone); err != nil {
		return fmt.Errorf("recipients: timezone: %w", err)
	}
	if p.allow, err = p.openList("allow", p.Allow, p.AllowFiles); err != nil {
		return fmt.Errorf("recipients: %w", err)
	}
	if p.deny, err = p.openList("deny", p.Deny, p.DenyFiles); err != nil {
		return fmt.Errorf("recipients: %w", err)
	}
	if p.shared, err = p.Open("recipients", p.log); err != nil {
		return fmt.Errorf("recipients: %w", err)
	}
	if p.shared != nil && p.perDay == nil {
		return errors.New("recipients: redis and spool are for the count of max_per_day, which is not set")
	}
	if p.perDay != nil {
		v, _, err := dayCounts.LoadOrNew(p.key(), func() (caddy.Destructor, error) { return new(days), nil })
		if err != nil {
			return err
		}
		p.days = v.(*days)
	}
	return nil
}

// Cleanup ends the watch and the hold on the counts.
func (p *Recipients) Cleanup() error {
	if p.days != nil {
		_, _ = dayCounts.Delete(p.key())
	}
	return errors.Join(p.allow.close(), p.deny.close(), p.shared.Close())
}

// CheckRecipient checks one.
func (p *Recipients) CheckRecipient(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient) error {
	a, err := mailaddr.Parse(r.Complete(), true)
	if err != nil {
		return err
	}
	if denied, err := p.deny.has(s, a); err != nil || denied {
		return cmp.Or(err, refuse(550, smtp.EnhancedCode{5, 7, 1}, "deny", "Recipient is not allowed: "+a.Exact))
	}
	if allowed, err := p.allow.has(s, a); p.allow != nil && (err != nil || !allowed) {
		return cmp.Or(err, refuse(550, smtp.EnhancedCode{5, 7, 1}, "allow", "Recipient is not allowed: "+a.Exact))
	}
	most, limited, err := p.perMessage.Of(s.Identity.User, s.Identity.Attributes)
	switch {
	case err != nil:
		return err
	case limited && most == 0:
		return none("max_per_message")
	case limited:
		if err := tooMany(s, r, most); err != nil {
			return err
		}
	}
	return p.countDay(ctx, s, r)
}

// tooMany refuses a recipient before whom there are as many as a message may have.
func tooMany(s *caddymsa.Submission, r *queue.Recipient, most int64) error {
	switch n, atEnd := s.Ahead(r); {
	case int64(n) < most:
		return nil
	case atEnd:
		return refuse(550, smtp.EnhancedCode{5, 5, 3}, "max_per_message", fmt.Sprintf("Too many recipients: %d are allowed, send it to fewer at a time", most))
	}
	return refuse(452, smtp.EnhancedCode{4, 5, 3}, "max_per_message", fmt.Sprintf("Too many recipients: %d are allowed, send the rest in another transaction", most))
}

func refuse(code int, status smtp.EnhancedCode, rule, text string) error {
	return &caddymsa.Refusal{Code: code, Status: status, Rule: rule, Text: text}
}

// none refuses a user of whom the backend says that there may be none.
func none(rule string) error {
	return refuse(550, smtp.EnhancedCode{5, 7, 1}, rule, "No recipients are allowed")
}

// Interface guards
var (
	_ caddy.Provisioner        = (*Recipients)(nil)
	_ caddy.CleanerUpper       = (*Recipients)(nil)
	_ caddymsa.RecipientPolicy = (*Recipients)(nil)
	_ caddymsa.SpoolCounting   = (*Recipients)(nil)
)
