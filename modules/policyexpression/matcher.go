package policyexpression

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Matcher matches submissions of which an expression is true; see the policy for what it can ask.
// One that asks about recipients, size, message or parts is for policies alone: routes are chosen
// before the message is there.
type Matcher struct {
	// Expr is the expression; in JSON, the matcher is this text.
	Expr string

	program *program
}

// CaddyModule returns the Caddy module information.
func (*Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.expression", New: func() caddy.Module { return new(Matcher) }}
}

// UnmarshalJSON reads the text.
func (m *Matcher) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &m.Expr) }

// MarshalJSON writes the text.
func (m *Matcher) MarshalJSON() ([]byte, error) { return json.Marshal(m.Expr) }

// Provision compiles the expression.
func (m *Matcher) Provision(caddy.Context) (err error) {
	m.program, err = compile(m.Expr)
	return err
}

// Moment is when all that the expression asks has its answer.
func (m *Matcher) Moment() caddymsa.Moment { return m.program.moment }

// Match asks about what is stored.
func (m *Matcher) Match(e *queue.Entry, r *queue.Recipient) (bool, error) {
	if m.program.moment == caddymsa.MomentMessage {
		return false, fmt.Errorf("the expression asks about the message, which is not there")
	}
	return m.program.either(context.Background(), &vars{e: e, r: r, now: clock}, true)
}

// MatchMessage asks about a submission at the end of data.
func (m *Matcher) MatchMessage(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient, message *caddymsa.Message) (bool, error) {
	return m.program.either(ctx, &vars{e: s.Entry, r: r, m: message, now: clock}, true)
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	@<name> expression <expression>
func (m *Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the matcher's name
	if m.Expr = rest(d); m.Expr == "" {
		return d.Err("expression takes an expression, as in: @large expression `size > 1000000`")
	}
	if _, err := compile(m.Expr); err != nil {
		return d.WrapErr(err)
	}
	return conf.Block(d)
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Matcher)(nil)
	_ caddymsa.Matcher        = (*Matcher)(nil)
	_ caddymsa.MessageMatcher = (*Matcher)(nil)
	_ caddyfile.Unmarshaler   = (*Matcher)(nil)
)
