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
	prefix string                     // of the keys of its buckets
	limits map[string]*conf.Allowance // by resource; nil: no limit
}

// resolve makes the levels.
func (p *RateLimit) resolve() (err error) {
	first := Level{Window: p.Window, Messages: p.Messages, Recipients: p.Recipients, Bytes: p.Bytes}
	if first != (Level{}) {
		if err := p.addLevel(first, ""); err != nil {
			return err
		}
	}
	for _, l := range p.Per {
		if err := p.addLevel(l, time.Duration(l.Window).String()+"\x00"); err != nil {
			return fmt.Errorf("per %s: %w", short(time.Duration(l.Window)), err)
		}
	}
	if p.PerMessage != nil {
		p.perMessage, err = p.allowances(map[string]conf.Amount{recipients: p.PerMessage.Recipients, octets: p.PerMessage.Bytes})
		if err == nil && len(p.perMessage) == 0 {
			err = errors.New("recipients or bytes is required, as in: recipients 100")
		}
		if err != nil {
			return fmt.Errorf("per message: %w", err)
		}
	}
	if len(p.levels)+len(p.perMessage) == 0 {
		return errNoAmount
	}
	return nil
}

var errNoAmount = errors.New("messages, recipients or bytes is required, as in: messages 60")

func (p *RateLimit) addLevel(l Level, prefix string) error {
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
	p.levels = append(p.levels, level{window: time.Duration(l.Window), prefix: prefix, limits: limits})
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
	return rate{limit: n, burst: max(1, int64(float64(n)*float64(burst)/100)), window: l.window}, true, nil
}

// readPer reads a level. Syntax:
//
//	per <duration> {
//		messages   <amount>
//		recipients <amount>
//		bytes      <amount>
//	}
//	per message {
//		recipients <amount>
//		bytes      <amount>
//	}
func (p *RateLimit) readPer(d *caddyfile.Dispenser) error {
	var window string
	if !d.AllArgs(&window) {
		return d.Err("per takes a time, as in per 1d { ... }, or the word message")
	}
	if window == "message" {
		if p.PerMessage != nil {
			return d.Err("per message is specified twice")
		}
		p.PerMessage = new(PerMessage)
		return conf.Block(d, conf.AmountOf("recipients", conf.Pieces, &p.PerMessage.Recipients), conf.AmountOf("bytes", conf.Octets, &p.PerMessage.Bytes))
	}
	var l Level
	if err := l.Window.UnmarshalText([]byte(window)); err != nil {
		return d.Errf("per: %w, nor the word message", err)
	}
	if err := conf.Block(d, amounts(&l.Messages, &l.Recipients, &l.Bytes)...); err != nil {
		return err
	}
	p.Per = append(p.Per, l)
	return nil
}

func amounts(m, r, b *conf.Amount) []conf.Setting {
	return []conf.Setting{conf.AmountOf("messages", conf.Pieces, m), conf.AmountOf("recipients", conf.Pieces, r), conf.AmountOf("bytes", conf.Octets, b)}
}
