// Package sinkmaildir delivers into Maildirs, which Dovecot and other POP3 and
// IMAP servers read.
package sinkmaildir

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/placeholder"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(Maildir))
}

// Maildir delivers each recipient's message into a Maildir below a directory. A
// message is what was submitted, octet for octet, behind the trace fields: a
// Return-Path field (RFC 5321, section 4.4), then what the server prepended.
// Directories are created as they are needed, with mode 0700; files have 0600.
type Maildir struct {
	// Path is the Maildir, the directory that holds new, cur and tmp. Required.
	// It may contain {msa.user}, {msa.sender}, {msa.recipient},
	// {msa.recipient.local}, {msa.recipient.domain}, {msa.queue_id} and
	// {msa.remote_ip}, each alone between two slashes. Domains become lower-case
	// A-labels, local parts lose their quoting. A recipient is refused if a value is
	// empty, begins with a dot, contains a slash or a control character, or is
	// longer than 200 octets. Nothing leaves the directory before the first of
	// these, not through symbolic links either. Other placeholders
	// ({env.*}, {file.*}) are resolved once, when the config is loaded. A relative
	// path begins at the working directory.
	Path string `json:"path,omitempty"`

	// Case is how users and local parts become names of directories: fold, in lower case, so that
	// Bob and BOB have one Maildir; or exact, as they are spelled. Default fold.
	Case names.Case `json:"case,omitempty"`

	path *placeholder.Path
	base string // absolute
}

// CaddyModule returns the Caddy module information.
func (*Maildir) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "msa.sinks.maildir",
		New: func() caddy.Module { return new(Maildir) },
	}
}

// Provision parses the path. Nothing is created on disk before the first message.
func (m *Maildir) Provision(caddy.Context) (err error) {
	if m.Path == "" {
		return errors.New("maildir: a path is required, such as /var/mail/{msa.recipient.domain}/{msa.recipient.local}")
	}
	repl := caddy.NewReplacer()
	m.path, err = placeholder.ParsePath(m.Path, func(name string) (string, error) {
		return repl.ReplaceOrErr("{"+name+"}", true, true)
	})
	if err != nil {
		return fmt.Errorf("maildir: %w", err)
	}
	m.path.Case = m.Case
	if m.base, err = filepath.Abs(m.path.Base()); err != nil {
		return fmt.Errorf("maildir: %w", err)
	}
	return nil
}

// errAddress is the answer to an address that makes no path. It cannot wrap its
// cause: the reply's text is public.
var errAddress = &smtp.SMTPError{
	Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 3}, Message: "Address cannot name a mailbox here",
}

// CheckRecipient refuses, at RCPT, a recipient whose address can name no Maildir.
func (m *Maildir) CheckRecipient(_ context.Context, e *queue.Entry, r *queue.Recipient) error {
	values := placeholder.Of(e, r)
	if values.QueueID == "" { // not given out yet
		values.QueueID = "unknown"
	}
	if _, err := m.path.Expand(values); err != nil {
		return errAddress
	}
	return nil
}

// Deliver stores one copy for each recipient, and has synced it when it returns.
func (m *Maildir) Deliver(ctx context.Context, d *queue.Delivery) error {
	root, err := openBase(m.base)
	if err != nil {
		return err
	}
	defer root.Close()
	message, err := d.Open()
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	defer message.Close()
	var failed error
	for _, r := range d.Recipients {
		if err := ctx.Err(); err != nil {
			return err
		}
		path, err := m.path.Expand(placeholder.Of(d.Entry, r))
		if err != nil {
			d.Report(r, errAddress)
			continue
		}
		err = deliver(ctx, root, path, d.Entry, r, message)
		d.Report(r, err)
		if err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	maildir <path> {
//		case fold|exact
//	}
func (m *Maildir) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if !d.AllArgs(&m.Path) {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var word string
		if name := d.Val(); name != "case" {
			return d.Errf("unknown setting %q of maildir; there is case", name)
		}
		if !d.AllArgs(&word) {
			return d.ArgErr()
		}
		if err := m.Case.UnmarshalText([]byte(word)); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Maildir)(nil)
	_ queue.Sink            = (*Maildir)(nil)
	_ caddyfile.Unmarshaler = (*Maildir)(nil)
)
