// Package policysender holds clients to addresses of their own.
package policysender

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(SenderIdentity))
}

// SenderIdentity refuses a MAIL FROM, and a message whose From or Sender field has a mailbox,
// that is not among the addresses of who submits it: 550 5.7.1. The null return path is
// allowed; the header is checked all the same.
//
// The policy is in force without being named. Of several, each with matchers of its own, the
// first that matches decides, and where none does the default is in force. Its matchers can
// ask about who submits and from where, not about recipients or content.
type SenderIdentity struct {
	// Off lets clients send as anyone. No bounces are sent then, since no return path is known
	// to be the sender's own.
	Off bool `json:"off,omitempty"`

	// Addresses are patterns of addresses that may be used besides the user's own:
	// "scanner@example.org", "@example.org", "*@*.example.org". Default: none.
	Addresses []string `json:"addresses,omitempty"`

	// Case is how local parts compare: fold, without regard to case, or exact. Where a backend has
	// case exact, its users' own addresses compare so too. Default fold.
	Case names.Case `json:"case,omitempty"`

	// RequireFrom refuses a message that has no From field, or several (RFC 5322 section 3.6):
	// 554 5.6.0. Default: they are allowed, and each is checked.
	RequireFrom bool `json:"require_from,omitempty"`

	shared []mailaddr.Pattern
	log    *zap.Logger

	mu   sync.Mutex
	told map[string]bool // users of whom the log was told
}

// CaddyModule returns the Caddy module information.
func (*SenderIdentity) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.sender_identity", New: func() caddy.Module { return new(SenderIdentity) }}
}

// Provision parses the patterns.
func (p *SenderIdentity) Provision(ctx caddy.Context) error {
	p.log = terminal.Logger(ctx.Logger())
	if p.Off && (len(p.Addresses) > 0 || p.RequireFrom) {
		return errors.New("sender_identity is off, and has settings: remove one of the two")
	}
	for _, text := range p.Addresses {
		pattern, err := mailaddr.ParsePattern(text)
		if err != nil {
			return fmt.Errorf("addresses: %w", err)
		}
		p.shared = append(p.shared, pattern)
	}
	return nil
}

// Rules, as the client reads them.
const (
	ruleMail   = "MAIL FROM"
	ruleFrom   = "From"
	ruleSender = "Sender"
)

// atMail and atMessage mark a submission for which one of the server's policies has decided.
type atMail struct{}
type atMessage struct{}

// decides tells whether the policy is the first to be asked.
func decides(s *caddymsa.Submission, key any) bool {
	first := s.Value(key) == nil
	s.SetValue(key, true)
	return first
}

// CheckSender checks the return path, and marks one that bounces may go to.
func (p *SenderIdentity) CheckSender(_ context.Context, s *caddymsa.Submission) error {
	if !decides(s, atMail{}) || p.Off || s.Sender.IsNull() {
		return nil
	}
	if err := p.check(s, s.Sender, ruleMail); err != nil {
		return err
	}
	s.Entry.ReturnPath = true
	return nil
}

// CheckMessage checks every mailbox of every From and Sender field.
func (p *SenderIdentity) CheckMessage(_ context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	if !decides(s, atMessage{}) || p.Off {
		return nil
	}
	header, err := message.HeaderOf(m)
	if errors.Is(err, message.ErrHeaderTooLong) {
		return refuse(ruleFrom, err, "Header is too long")
	}
	if err != nil {
		return err
	}
	if n := header.Count("From"); p.RequireFrom && n != 1 {
		text := "From header field is missing"
		if n > 1 {
			text = fmt.Sprintf("there are %d From header fields", n)
		}
		return &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: ruleFrom, Text: text}
	}
	for _, rule := range []string{ruleFrom, ruleSender} {
		if rule == ruleSender && strings.Join(header.Values(rule), "") == "" { // empty, it says no more than if it were not there
			continue
		}
		all, err := header.Mailboxes(rule)
		if err != nil {
			return refuse(rule, err, rule+" header field cannot be understood: "+err.Error())
		}
		for _, a := range all {
			if err := p.check(s, a, rule); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *SenderIdentity) check(s *caddymsa.Submission, a mailaddr.Address, rule string) error {
	identity := s.Identity
	if p.Case == names.Exact {
		identity.Case = p.Case
	}
	if identity.MaySendAs(a) {
		return nil
	}
	for _, pattern := range p.shared {
		if pattern.MatchCase(a, p.Case) {
			return nil
		}
	}
	if len(s.Identity.Addresses) == 0 {
		if _, err := mailaddr.Parse(s.Identity.User, true); err != nil {
			p.tellNobody(s.Identity.User)
		}
	}
	what := "Sender address"
	if rule != ruleMail {
		what = rule + " header field"
	}
	return refuse(rule, nil, what+" is not one of yours: "+a.Exact)
}

// maxTold is of how many users the log is told who may send as nobody.
const maxTold = 20

func (p *SenderIdentity) tellNobody(user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told[user] || len(p.told) == maxTold {
		return
	}
	if p.told == nil {
		p.told = make(map[string]bool)
	}
	p.told[user] = true
	p.log.Warn("user may send as nobody: the user name is not an address and the backend gives none; add addresses to the user, as in addresses=alice@example.org in a users file",
		zap.String("user", user))
}

func refuse(rule string, cause error, text string) error {
	return &caddymsa.Refusal{Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: rule, Text: text, Err: cause}
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy sender_identity [off] {
//		addresses <patterns...>
//		case      fold|exact
//		require_from
//	}
func (p *SenderIdentity) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if d.NextArg() {
		if d.Val() != "off" {
			return d.Errf("sender_identity takes nothing or off, not %q", d.Val())
		}
		p.Off = true
	}
	return conf.Block(d,
		conf.Lists("addresses", &p.Addresses),
		conf.Value("case", &p.Case),
		conf.Flag("require_from", &p.RequireFrom),
	)
}

// Interface guards
var (
	_ caddy.Provisioner      = (*SenderIdentity)(nil)
	_ caddymsa.SenderPolicy  = (*SenderIdentity)(nil)
	_ caddymsa.MessagePolicy = (*SenderIdentity)(nil)
	_ caddyfile.Unmarshaler  = (*SenderIdentity)(nil)
)
