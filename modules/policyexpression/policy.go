// Package policyexpression judges submissions by expressions in CEL (cel.dev), as a policy and as
// a matcher.
package policyexpression

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/enhanced"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(Expression))
	caddy.RegisterModule(new(Matcher))
}

// Expression refuses submissions of which an expression is true, or is not true. It is
// asked at the earliest moment at which all that it asks has its final answer: at MAIL, for each
// recipient if it asks about recipient, at the end of data if it asks about recipients, size, message
// or parts.
//
// Variables: user, attributes (a map of text), mechanism, remote_ip, helo, tls, server, now, sender,
// smtputf8, priority, recipient, recipients, size, message and parts. Addresses have no brackets.
// parts is a list of maps: path, depth, type, charset, encoding, disposition, filename, filenames,
// size, container; the message itself is parts[0]. Mail readers may know a part by several names, which are
// its filenames; an expression about filename is evaluated with each of them, and refuses if one is
// enough.
//
// Functions beside CEL's and its extensions for strings, lists and sets: domain(address) and
// local(address), in_network(remote_ip, "192.0.2.0/24") or an address or a list of them,
// message.header("Subject") (the first, decoded, or empty) and message.headers("Received").
//
// An expression that fails in evaluation, such as one that asks for a key that a map does not have,
// or that takes too long, is the policy's failure: 451 4.3.0, and an error in the log.
type Expression struct {
	// Refuse is the expression that must not be true.
	Refuse string `json:"refuse,omitempty"`
	// Require is the expression that must be true. One of the two is required.
	Require string `json:"require,omitempty"`
	// Name is the rule's, for the reply and the log. Default: none.
	Name string `json:"name,omitempty"`
	// Code of the reply. Default: 550.
	Code int `json:"code,omitempty"`
	// Status is the enhanced code. Default: 5.7.1, or 4.7.1 with a code of class 4.
	Status string `json:"status,omitempty"`
	// Text of the reply. Default: "Refused by policy".
	Text string `json:"text,omitempty"`

	program *program
	status  smtp.EnhancedCode
	now     func() time.Time
}

// CaddyModule returns the Caddy module information.
func (*Expression) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.expression", New: func() caddy.Module { return new(Expression) }}
}

// Provision compiles the expression.
func (p *Expression) Provision(caddy.Context) (err error) {
	if (p.Refuse == "") == (p.Require == "") {
		return errors.New("expression: set either refuse or require, as in: refuse size > 1000000")
	}
	if p.Code == 0 {
		p.Code = 550
	}
	if p.Text == "" {
		p.Text = "Refused by policy"
	}
	if class := p.Code / 100; class != 4 && class != 5 || p.Code%100 > 59 || p.Code == 421 { // RFC 5321 section 4.2
		return fmt.Errorf("expression: code: %d does not refuse a message; use one from 400 to 459 or from 500 to 559, but for 421, which ends the session", p.Code)
	}
	if strings.ContainsFunc(p.Text, func(r rune) bool { return r > '~' }) {
		return fmt.Errorf("expression: text: %q has a character in it that is not ASCII, as a reply is (RFC 5321 section 4.2)", p.Text)
	}
	p.status = smtp.EnhancedCode{p.Code / 100, 7, 1}
	if p.Status != "" {
		if p.status, _ = enhanced.Parse(p.Status); p.status[0] != p.Code/100 {
			return fmt.Errorf("expression: status: %q is not an enhanced code of the class of %d, such as %d.7.1", p.Status, p.Code, p.Code/100)
		}
	}
	p.now = clock
	p.program, err = compile(p.Refuse + p.Require)
	return err
}

// CheckSender asks what can be answered at MAIL.
func (p *Expression) CheckSender(ctx context.Context, s *caddymsa.Submission) error {
	if p.program.moment > caddymsa.MomentSender {
		return nil
	}
	return p.check(ctx, &vars{e: s.Entry, now: p.now})
}

// CheckRecipient asks about a recipient.
func (p *Expression) CheckRecipient(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient) error {
	if p.program.moment != caddymsa.MomentRecipient {
		return nil
	}
	return p.check(ctx, &vars{e: s.Entry, r: r, now: p.now})
}

// CheckMessage asks about the message; with recipient in the expression, about each.
func (p *Expression) CheckMessage(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	if p.program.moment != caddymsa.MomentMessage {
		return nil
	}
	for i := range s.Entry.Recipients {
		if err := p.check(ctx, &vars{e: s.Entry, r: &s.Entry.Recipients[i], m: m, now: p.now}); err != nil || !p.program.recipient {
			return err
		}
	}
	return nil
}

func (p *Expression) check(ctx context.Context, v *vars) error {
	refused, err := p.program.either(ctx, v, p.Refuse != "")
	if err != nil || !refused {
		return err
	}
	return &caddymsa.Refusal{Code: p.Code, Status: p.status, Rule: p.Name, Text: p.Text}
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] expression refuse|require <expression> {
//		name   <name>
//		code   <code>
//		status <enhanced code>
//		text   <text>
//	}
func (p *Expression) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if !d.NextArg() || d.Val() != "refuse" && d.Val() != "require" {
		return d.Err("expression takes refuse or require and an expression, as in: policy expression refuse `size > 1000000`")
	}
	kind := d.Val()
	text := rest(d)
	if text == "" {
		return d.Errf("expression %s takes an expression, as in: policy expression %s `size > 1000000`", kind, kind)
	}
	if _, err := compile(text); err != nil {
		return d.WrapErr(err)
	}
	if kind == "refuse" {
		p.Refuse = text
	} else {
		p.Require = text
	}
	return conf.Block(d,
		conf.Text("name", &p.Name),
		conf.Count("code", &p.Code),
		conf.Text("status", &p.Status),
		conf.Text("text", &p.Text),
	)
}

// rest is the expression on the line: one argument in quotes or backticks, or several as they stand,
// with the quotes that belong to CEL.
func rest(d *caddyfile.Dispenser) string {
	if d.CountRemainingArgs() == 1 {
		d.NextArg()
		return d.Val()
	}
	return strings.Join(d.RemainingArgsRaw(), " ")
}

// Interface guards
var (
	_ caddy.Provisioner        = (*Expression)(nil)
	_ caddymsa.SenderPolicy    = (*Expression)(nil)
	_ caddymsa.RecipientPolicy = (*Expression)(nil)
	_ caddymsa.MessagePolicy   = (*Expression)(nil)
	_ caddyfile.Unmarshaler    = (*Expression)(nil)
)
