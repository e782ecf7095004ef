// Package sinkmaildir delivers into Maildirs, which Dovecot and other POP3 and
// IMAP servers read.
package sinkmaildir

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/placeholder"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

func init() {
	caddy.RegisterModule(new(Maildir))
}

// Maildir delivers each recipient's message into a Maildir below a directory. A
// message is what was submitted, octet for octet, behind the trace fields: a
// Return-Path field (RFC 5321, section 4.4), then what the server prepended.
// Directories are created as they are needed, with mode 0700, unless Existing is set; files have 0600.
type Maildir struct {
	// Path is the Maildir, the directory that holds new, cur and tmp. Required.
	// It may contain {msa.user}, {msa.sender}, {msa.recipient},
	// {msa.recipient.local}, {msa.recipient.domain}, {msa.queue_id}, {msa.identity.attributes.NAME} and
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

	// Existing limits the route to mailboxes that exist: those whose directory is there, or those of List. Other recipients
	// are refused, 550 5.1.1. Default: directories are made for any recipient.
	Existing bool `json:"existing,omitempty"`
	// List is a file with the addresses that have a mailbox, one a line, # for comments; plus-addresses only as they
	// stand there. It is read again when it changes. Directories are made for them as they are needed. Implies Existing.
	List string `json:"list,omitempty"`

	path *placeholder.Path
	base string // absolute
	list *watch.File[mailboxes]
	log  *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Maildir) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "msa.sinks.maildir",
		New: func() caddy.Module { return new(Maildir) },
	}
}

// Provision parses the path. Nothing is created on disk before the first message.
func (m *Maildir) Provision(ctx caddy.Context) (err error) {
	m.log = terminal.Logger(ctx.Logger())
	if m.Path == "" {
		return errors.New("maildir: a path is required, such as /var/mail/{msa.recipient.domain}/{msa.recipient.local}")
	}
	m.path, err = placeholder.ParsePath(m.Path, func(name string) (string, error) {
		return conf.Expand("{" + name + "}")
	})
	if err != nil {
		return fmt.Errorf("maildir: %w", err)
	}
	m.path.Case = m.Case
	if err := conf.NoHome(m.path.Base()); err != nil {
		return fmt.Errorf("maildir: path %q: %w", m.Path, err)
	}
	if m.base, err = filepath.Abs(m.path.Base()); err != nil {
		return fmt.Errorf("maildir: %w", err)
	}
	if m.List == "" {
		if m.Existing && strings.Contains(m.Path, "{"+placeholder.QueueID+"}") {
			return errors.New("maildir: existing: the directory of a message, with {msa.queue_id}, is never there before it")
		}
		return nil
	}
	m.Existing = true
	file, err := conf.Expand(m.List)
	if err != nil {
		return fmt.Errorf("maildir: existing: %w", err)
	}
	if m.list, err = lists[m.Case].Open(file, m.log, m.changed); err != nil {
		return fmt.Errorf("maildir: existing: %w", err)
	}
	return nil
}

// Cleanup ends the watch of the list.
func (m *Maildir) Cleanup() error {
	if m.list == nil {
		return nil
	}
	return m.list.Close()
}

// errAddress is the answer to an address that makes no path. It cannot wrap its
// cause: the reply's text is public.
var errAddress = &smtp.SMTPError{
	Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 3}, Message: "Address cannot name a mailbox here",
}

// errNotGiven is the answer to a user whose attributes, which the path has, make no path.
var errNotGiven = &smtp.SMTPError{
	Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Not allowed: your account has no mailboxes here",
}

// CheckRecipient refuses, at RCPT, a recipient whose address can name no Maildir, or that has none.
func (m *Maildir) CheckRecipient(_ context.Context, e *queue.Entry, r *queue.Recipient) error {
	values := placeholder.Of(e, r)
	if values.QueueID == "" { // not given out yet
		values.QueueID = "unknown"
	}
	path, err := m.path.Expand(values)
	switch {
	case errors.Is(err, placeholder.ErrAttribute):
		return errNotGiven
	case err != nil:
		return errAddress
	}
	if !m.Existing {
		return nil
	}
	return m.exists(r, path)
}

// Deliver stores one copy for each recipient, and has synced it when it returns.
func (m *Maildir) Deliver(ctx context.Context, d *queue.Delivery) error {
	root, err := openBase(m.base)
	if err != nil {
		return err
	}
	defer root.Close()
	copies := m.copies(d)
	if err := m.store(ctx, root, d, copies); err != nil {
		return err
	}
	answer := queue.Answer{Reply: "stored below " + m.base} // one for all, so that they are one line in log and history
	if len(copies) == 1 {
		answer = queue.Answer{Reply: "stored in " + copies[0].path, ID: copies[0].name}
	}
	var failed error
	for _, c := range copies {
		if !c.tried {
			failed = ctx.Err() // for all that have no report
			continue
		}
		for _, r := range c.recipients {
			if d.Report(r, c.err); c.err == nil {
				d.Answered(r, answer)
			}
		}
		if c.err != nil && c.err != error(errAddress) && failed == nil {
			failed = c.err
		}
	}
	return failed
}

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	maildir <path> {
//		case     fold|exact
//		existing [<list_file>]
//	}
func (m *Maildir) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if !d.AllArgs(&m.Path) {
		return d.Err("maildir takes a path, as in: maildir /var/mail/{msa.recipient.domain}/{msa.recipient.local}")
	}
	return conf.Block(d,
		conf.Value("case", &m.Case),
		conf.Func("existing", m.unmarshalExisting),
	)
}

func (m *Maildir) unmarshalExisting(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) > 1 {
		return d.Err("existing takes no value, or the path of one list")
	}
	m.Existing = true
	if len(args) == 1 {
		m.List = args[0]
	}
	if err := conf.NoEmpty(args...); err != nil {
		return d.Errf("existing: %w", err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Maildir)(nil)
	_ caddy.CleanerUpper    = (*Maildir)(nil)
	_ queue.Sink            = (*Maildir)(nil)
	_ caddyfile.Unmarshaler = (*Maildir)(nil)
)
