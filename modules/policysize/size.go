// Package policysize limits the size of messages.
package policysize

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(Size))
}

// Size refuses messages that are too large for those whom its matchers match: 552 5.3.4, at
// MAIL when SIZE= says so, at the end of data otherwise. The server's limit of message_size, which
// EHLO announces, holds for everybody and comes first.
type Size struct {
	// Max is the most octets in a message, as submitted: a number, or an attribute of who submits (see conf.Amount). Required.
	Max conf.Amount `json:"max,omitempty"`

	max *conf.Allowance
}

// CaddyModule returns the Caddy module information.
func (*Size) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.size", New: func() caddy.Module { return new(Size) }}
}

// Provision refuses what would refuse every message.
func (p *Size) Provision(ctx caddy.Context) (err error) {
	if p.max, err = p.Max.Resolve("max", conf.Octets, terminal.Logger(ctx.Logger())); err != nil {
		return fmt.Errorf("size: %w", err)
	}
	if p.max == nil {
		return errors.New("size: max is required, in octets, such as 10485760")
	}
	return nil
}

// CheckSender heeds what the client said of the size (RFC 1870 section 6.1).
func (p *Size) CheckSender(_ context.Context, s *caddymsa.Submission) error {
	return p.check(s, s.DeclaredSize)
}

// CheckMessage counts.
func (p *Size) CheckMessage(_ context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	return p.check(s, m.Size)
}

func (p *Size) check(s *caddymsa.Submission, size int64) error {
	most, limited, err := p.max.Of(s.Identity.User, s.Identity.Attributes)
	switch {
	case err != nil || !limited:
		return err
	case most == 0: // as the backend says of a user: there is no message that small
		return &caddymsa.Refusal{Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "max", Text: "No messages are allowed"}
	case size <= most:
		return nil
	}
	return &caddymsa.Refusal{Code: 552, Status: smtp.EnhancedCode{5, 3, 4}, Rule: "max",
		Text: fmt.Sprintf("Message of %d octets is too large: %d are allowed", size, most)}
}

// Quotas implements caddymsa.QuotaPolicy.
func (p *Size) Quotas(_ context.Context, s *caddymsa.Submission) []counts.Quota {
	return []counts.Quota{p.max.Quota("bytes", s.Identity.User, s.Identity.Attributes)}
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] size <max>|{msa.identity.attributes.NAME} [<max>]
func (p *Size) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if err := conf.Parse(d, conf.AmountOf("size", conf.Octets, &p.Max)); err != nil {
		return err
	}
	return conf.Block(d)
}

// Interface guards
var (
	_ caddy.Provisioner      = (*Size)(nil)
	_ caddymsa.SenderPolicy  = (*Size)(nil)
	_ caddymsa.QuotaPolicy   = (*Size)(nil)
	_ caddymsa.MessagePolicy = (*Size)(nil)
	_ caddyfile.Unmarshaler  = (*Size)(nil)
)
