// Package policytime allows submissions at certain times only.
package policytime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // a machine without zone files knows the zones too

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func init() {
	caddy.RegisterModule(new(TimeWindow))
}

// TimeWindow refuses submissions outside of certain times, at MAIL: 450 4.7.1 with when it opens
// again, or 550 5.7.1. A window is days and a time of day, "mon-fri 08:00-18:00"; without days
// it is every day, without a time the whole day; one whose end is not after its start lasts
// into the next day. Where clocks are set forward or back, the clock on the wall counts.
type TimeWindow struct {
	// Allow are windows in which submissions are taken. Default: always.
	Allow []string `json:"allow,omitempty"`
	// Deny are windows in which none is taken, whatever Allow says. Default: none.
	Deny []string `json:"deny,omitempty"`
	// Timezone is where the times are meant, such as Europe/Amsterdam. Default: UTC.
	Timezone string `json:"timezone,omitempty"`
	// Reject says that clients should not try again: 550 5.7.1.
	Reject bool `json:"reject,omitempty"`

	zone        *time.Location
	allow, deny []window
	now         func() time.Time
}

// CaddyModule returns the Caddy module information.
func (*TimeWindow) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.time_window", New: func() caddy.Module { return new(TimeWindow) }}
}

// Provision parses the windows.
func (p *TimeWindow) Provision(caddy.Context) (err error) {
	if len(p.Allow)+len(p.Deny) == 0 {
		return errors.New("time_window: a window is required, as in allow mon-fri 08:00-18:00")
	}
	if p.zone, err = time.LoadLocation(p.Timezone); err != nil {
		return fmt.Errorf("time_window: timezone: %w", err)
	}
	if p.allow, err = parseAll("allow", p.Allow); err != nil {
		return err
	}
	if p.deny, err = parseAll("deny", p.Deny); err != nil {
		return err
	}
	p.now = time.Now
	return nil
}

func parseAll(name string, texts []string) (all []window, err error) {
	for _, text := range texts {
		w, err := parseWindow(text)
		if err != nil {
			return nil, fmt.Errorf("time_window: %s: %w", name, err)
		}
		all = append(all, w)
	}
	return all, nil
}

// CheckSender looks at the clock.
func (p *TimeWindow) CheckSender(context.Context, *caddymsa.Submission) error {
	now := p.now().In(p.zone)
	rule := p.closed(now)
	if rule == "" {
		return nil
	}
	r := &caddymsa.Refusal{Code: 450, Status: smtp.EnhancedCode{4, 7, 1}, Rule: rule, Text: "No submissions at this time"}
	if p.Reject {
		r.Code, r.Status = 550, smtp.EnhancedCode{5, 7, 1}
	}
	if opens := p.opens(now); !opens.IsZero() {
		r.Text += ", come back " + opens.Format("Mon 2 Jan 15:04 MST")
	}
	return r
}

// closed is the rule that refuses at t, or empty.
func (p *TimeWindow) closed(t time.Time) string {
	for _, w := range p.deny {
		if w.has(t) {
			return "deny"
		}
	}
	for _, w := range p.allow {
		if w.has(t) {
			return ""
		}
	}
	if len(p.allow) == 0 {
		return ""
	}
	return "allow"
}

// opens is the first minute from now at which it is open, within a week and a day; zero if there is
// none. Windows begin and end with minutes, and clocks are set at quarters of an hour.
func (p *TimeWindow) opens(now time.Time) time.Time {
	const horizon = 8 * 24 * time.Hour
	at := now.Truncate(time.Minute)
	for at.Before(now.Add(horizon)) {
		if at = at.Add(time.Minute); p.closed(at) == "" {
			return at
		}
	}
	return time.Time{}
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] time_window {
//		allow    <window>
//		deny     <window>
//		timezone <name>
//		reject
//	}
func (p *TimeWindow) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	return conf.Block(d,
		conf.Each("allow", func(d *caddyfile.Dispenser) error { return windowOf(d, &p.Allow) }),
		conf.Each("deny", func(d *caddyfile.Dispenser) error { return windowOf(d, &p.Deny) }),
		conf.Text("timezone", &p.Timezone),
		conf.Flag("reject", &p.Reject),
	)
}

func windowOf(d *caddyfile.Dispenser, into *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if err := conf.NoEmpty(args...); err != nil {
		return d.Errf("%s: %w", name, err)
	}
	text := strings.Join(args, " ")
	if _, err := parseWindow(text); err != nil {
		return d.Errf("%s: %w", name, err)
	}
	*into = append(*into, text)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*TimeWindow)(nil)
	_ caddymsa.SenderPolicy = (*TimeWindow)(nil)
	_ caddyfile.Unmarshaler = (*TimeWindow)(nil)
)
