// Package policysender holds clients to addresses of their own.
package policysender

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

func init() {
	caddy.RegisterModule(new(SenderIdentity))
}

// SenderIdentity refuses a MAIL FROM, and a message whose From field has a
// mailbox, that is not among the addresses of who submits it: 550 5.7.1. The
// null return path is allowed; From is checked all the same. The policy is in
// force without being named; name it to switch it off.
type SenderIdentity struct {
	// Off lets every client send as anyone. No bounces are sent then, since no
	// return path is known to be the sender's own.
	Off bool `json:"off,omitempty"`

	log *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*SenderIdentity) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.sender_identity", New: func() caddy.Module { return new(SenderIdentity) }}
}

// Provision sets up the log.
func (p *SenderIdentity) Provision(ctx caddy.Context) error {
	p.log = ctx.Logger()
	return nil
}

// CheckSender checks the return path, and marks one that bounces may go to.
func (p *SenderIdentity) CheckSender(_ context.Context, s *caddymsa.Submission) error {
	if p.Off || s.Sender.IsNull() {
		return nil
	}
	if err := p.check(s, s.Sender, "Sender address"); err != nil {
		return err
	}
	s.Entry.ReturnPath = true
	return nil
}

// CheckMessage checks every mailbox of every From field. A message without one
// claims to be from nobody, which is for other policies to judge.
func (p *SenderIdentity) CheckMessage(_ context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	if p.Off {
		return nil
	}
	r, err := m.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	fields, err := fromFields(r)
	if err != nil {
		return err
	}
	for _, field := range fields {
		mailboxes, err := addresses.ParseList(field)
		if err != nil {
			return fmt.Errorf("%w: %v", errFromSyntax, err)
		}
		for _, mb := range mailboxes {
			at := strings.LastIndexByte(mb.Address, '@')
			a := mailaddr.Address{Exact: mb.Address, Local: mb.Address[:max(at, 0)], Domain: mb.Address[at+1:]}
			if err := p.check(s, a, "From header field"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *SenderIdentity) check(s *caddymsa.Submission, a mailaddr.Address, what string) error {
	if s.Identity.MaySendAs(a) {
		return nil
	}
	if len(s.Identity.Addresses) == 0 {
		if _, err := mailaddr.Parse(s.Identity.User, true); err != nil {
			p.log.Warn("user may send as nobody: the user name is no address and the backend gives none; add addresses to the user, as in addresses=alice@example.org in a users file",
				zap.String("user", s.Identity.User))
		}
	}
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1},
		Message: what + " is not one of yours"}
}

var (
	errFromSyntax = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1},
		Message: "From header field cannot be understood"}
	errFromTooLong = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1},
		Message: "From header field is too long"}
)

// addresses parses mailboxes. What charset a display name is in does not matter here.
var addresses = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
}}

// maxFrom bounds what From fields may take of memory.
const maxFrom = 64 << 10

// fromFields returns the values of all From fields, unfolded.
// A line that is no header field does not end the header: readers differ in that,
// and one of them might see a From behind it.
func fromFields(r io.Reader) (fields []string, err error) {
	br := bufio.NewReaderSize(r, 4096)
	var value []byte
	total, inFrom, start := 0, false, true
	flush := func() {
		if inFrom {
			fields = append(fields, strings.NewReplacer("\r\n", "", "\n", "").Replace(string(value)))
		}
		value, inFrom = nil, false
	}
	for {
		line, err := br.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if start && len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		if start && line[0] != ' ' && line[0] != '\t' {
			flush()
			name, rest, found := bytes.Cut(line, []byte(":"))
			if inFrom = found && bytes.EqualFold(bytes.TrimRight(name, " \t"), []byte("from")); inFrom {
				line = rest
			}
		}
		if inFrom {
			if total += len(line); total > maxFrom {
				return nil, errFromTooLong
			}
			value = append(value, line...)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		start = err == nil
	}
	flush()
	return fields, nil
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy sender_identity [off]
func (p *SenderIdentity) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if !d.NextArg() {
		return nil
	}
	if d.Val() != "off" {
		return d.Errf("sender_identity takes nothing or off, not %q", d.Val())
	}
	p.Off = true
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner      = (*SenderIdentity)(nil)
	_ caddymsa.SenderPolicy  = (*SenderIdentity)(nil)
	_ caddymsa.MessagePolicy = (*SenderIdentity)(nil)
	_ caddyfile.Unmarshaler  = (*SenderIdentity)(nil)
)
