package policyrate

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Level is what there may be in one window.
type Level struct {
	// Window is the time. Required.
	Window conf.Duration `json:"window,omitempty"`
	// Messages, Recipients and Bytes, of which at least one is required.
	Messages   conf.Amount `json:"messages,omitempty"`
	Recipients conf.Amount `json:"recipients,omitempty"`
	Bytes      conf.Amount `json:"bytes,omitempty"`
}

// PerMessage is what one message may have. At least one is required.
type PerMessage struct {
	// Recipients: those beyond are refused with 452 4.5.3, so that the client sends the message again to the rest.
	Recipients conf.Amount `json:"recipients,omitempty"`
	// Bytes: a larger message is refused with 552 5.3.4.
	Bytes conf.Amount `json:"bytes,omitempty"`
}

// level is a Level in use.
type level struct {
	window time.Duration
	prefix string                     // of the keys of its buckets, which hold times: another window's would be too much or too little
	limits map[string]*conf.Allowance // by resource; nil: no limit
}

// resolve makes the levels.
func (p *RateLimit) resolve() (err error) {
	first := Level{Window: p.Window, Messages: p.Messages, Recipients: p.Recipients, Bytes: p.Bytes}
	if first != (Level{}) {
		if err := p.addLevel(first); err != nil {
			return err
		}
	}
	for _, l := range p.Windows {
		if err := p.addLevel(l); err != nil {
			return fmt.Errorf("window %s: %w", short(time.Duration(l.Window)), err)
		}
	}
	if p.PerMessage != nil {
		p.perMessage, err = p.allowances(map[string]conf.Amount{recipients: p.PerMessage.Recipients, octets: p.PerMessage.Bytes})
		if err == nil && len(p.perMessage) == 0 {
			err = errors.New("recipients or bytes is required, as in: recipients 100")
		}
		if err != nil {
			return fmt.Errorf("per_message: %w", err)
		}
	}
	if len(p.levels)+len(p.perMessage) == 0 {
		return errNoAmount
	}
	return nil
}

var errNoAmount = errors.New("messages, recipients or bytes is required, as in: messages 60")

func (p *RateLimit) addLevel(l Level) error {
	limits, err := p.allowances(map[string]conf.Amount{messages: l.Messages, recipients: l.Recipients, octets: l.Bytes})
	switch {
	case err != nil:
		return err
	case len(limits) == 0:
		return errNoAmount
	case l.Window <= 0:
		return errors.New("a window is required, as in: window 1m")
	}
	for _, other := range p.levels {
		if other.window == time.Duration(l.Window) {
			return errors.New("there is this window already: put the amounts together")
		}
	}
	window := time.Duration(l.Window)
	p.levels = append(p.levels, level{window: window, prefix: window.String() + "\x00", limits: limits})
	return nil
}

func (p *RateLimit) allowances(amounts map[string]conf.Amount) (map[string]*conf.Allowance, error) {
	all := make(map[string]*conf.Allowance)
	for resource, amount := range amounts {
		unit := conf.Pieces
		if resource == octets {
			unit = conf.Octets
		}
		a, err := amount.Resolve(resource, unit, p.log)
		if err != nil {
			return nil, err
		}
		if a != nil {
			all[resource] = a
		}
	}
	return all, nil
}

// rate is the measure of a resource for who submits. limited is false if there is none.
func (l *level) rate(resource string, s *caddymsa.Submission, burst int64) (r rate, limited bool, err error) {
	n, limited, err := l.limits[resource].Of(s.Identity.User, s.Identity.Attributes)
	if err != nil || !limited {
		return rate{}, limited, err
	}
	return rate{limit: n, burst: max(1, int64(float64(n)*float64(burst)/100)), window: l.window, longest: l.window / 100 * time.Duration(max(burst, 100))}, true, nil
}

// readWindow reads the policy's window or, with a block, a level. Syntax:
//
//	window <duration> {
//		messages   <amount>
//		recipients <amount>
//		bytes      <amount>
//	}
func (p *RateLimit) readWindow(d *caddyfile.Dispenser) error {
	var text string
	if !d.AllArgs(&text) {
		return d.Err("window takes a time, as in window 1h, and perhaps a block of amounts")
	}
	var l Level
	if err := l.Window.UnmarshalText([]byte(text)); err != nil {
		return d.Errf("window: %w", err)
	}
	if !hasBlock(d) {
		if p.Window != 0 {
			return d.Err("window is specified twice; further ones have their amounts in a block: window 1d { messages 1000 }")
		}
		p.Window = l.Window
		return nil
	}
	if err := conf.Block(d, amounts(&l.Messages, &l.Recipients, &l.Bytes)...); err != nil {
		return err
	}
	p.Windows = append(p.Windows, l)
	return nil
}

// hasBlock tells whether a block comes next.
func hasBlock(d *caddyfile.Dispenser) bool {
	if !d.Next() {
		return false
	}
	defer d.Prev()
	return d.Val() == "{"
}

// readPerMessage reads the most of one message. Syntax:
//
//	per_message {
//		recipients <amount>
//		bytes      <amount>
//	}
func (p *RateLimit) readPerMessage(d *caddyfile.Dispenser) error {
	p.PerMessage = new(PerMessage)
	return conf.Block(d, conf.AmountOf("recipients", conf.Pieces, &p.PerMessage.Recipients), conf.AmountOf("bytes", conf.Octets, &p.PerMessage.Bytes))
}

func amounts(m, r, b *conf.Amount) []conf.Setting {
	return []conf.Setting{conf.AmountOf("messages", conf.Pieces, m), conf.AmountOf("recipients", conf.Pieces, r), conf.AmountOf("bytes", conf.Octets, b)}
}
