// Package policyheaders requires header fields and puts some before a message.
package policyheaders

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/placeholder"
)

func init() {
	caddy.RegisterModule(new(Headers))
}

// Headers holds a message's header to RFC 5322 and puts fields before it. Nothing that was
// submitted is changed or removed. What is refused hears 554 5.6.0.
type Headers struct {
	// Require are fields that a message must have, and not empty, such as Date and Message-ID. Those that
	// RFC 5322 section 3.6 allows once may not appear twice either. What policies in front of
	// this one have put before the message counts. Default: none.
	Require []string `json:"require,omitempty"`
	// AddMissing are fields that are put before a message which has none: Date, in the server's time
	// zone, and Message-ID (RFC 6409 sections 8.2 and 8.3). An empty one is there, since there can be
	// but one. Default: none.
	AddMissing []string `json:"add_missing,omitempty"`
	// Prepend are fields, "Name: value", that are put before every message, the first one on top. Values
	// may have {msa.user}, {msa.sender}, {msa.queue_id}, {msa.remote_ip} and {msa.identity.attributes.NAME}; other placeholders are
	// resolved once, when the config is loaded. They are folded, and encoded (RFC 2047) where they
	// cannot stand as they are. Default: none.
	Prepend []string `json:"prepend,omitempty"`
	// RefuseBcc refuses a message that has a Bcc or Resent-Bcc field, since nothing is removed and
	// everybody would read it.
	RefuseBcc bool `json:"refuse_bcc,omitempty"`
	// Strict refuses a header that RFC 5322 does not allow: a line that is not a field, white space before
	// a colon or alone in a line, control characters, a line of over 998 octets (section 2.1.1), a field
	// that appears twice and may appear once only (section 3.6), octets above 127 in a message that came without
	// SMTPUTF8, or that are not UTF-8 in one with it (RFC 6532).
	Strict bool `json:"strict,omitempty"`

	prepend []field
	now     func() time.Time
	id      func() string
}

// field is one to be put before a message.
type field struct {
	name  string
	value *placeholder.Template
}

// CaddyModule returns the Caddy module information.
func (*Headers) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.headers", New: func() caddy.Module { return new(Headers) }}
}

// Provision parses the fields.
func (p *Headers) Provision(caddy.Context) error {
	p.now, p.id = time.Now, randomID
	if len(p.Require)+len(p.AddMissing)+len(p.Prepend) == 0 && !p.RefuseBcc && !p.Strict {
		return errors.New("headers: there is nothing to do; set require, add_missing, prepend, refuse_bcc or strict")
	}
	for _, name := range p.Require {
		switch {
		case !message.IsName(name) || strings.Contains(name, ":"):
			return fmt.Errorf("headers: require: %q is not a field name", name)
		case has(p.AddMissing, name):
			return fmt.Errorf("headers: %s is both in require and in add_missing: remove one of the two", name)
		case p.RefuseBcc && strings.EqualFold(name, "Bcc"):
			return errors.New("headers: Bcc is both in require and refused: remove one of the two")
		}
	}
	for i, name := range p.AddMissing {
		if has(p.AddMissing[:i], name) { // a message would get two
			return fmt.Errorf("headers: add_missing: %s is specified twice", name)
		}
		if !has([]string{"Date", "Message-ID"}, name) {
			return fmt.Errorf("headers: add_missing: there are Date and Message-ID, not %q; use prepend for others", name)
		}
	}
	for _, text := range p.Prepend {
		f, err := parseField(text)
		if err != nil {
			return fmt.Errorf("headers: prepend: %w", err)
		}
		p.prepend = append(p.prepend, f)
	}
	return nil
}

// once are the fields that RFC 5322 section 3.6 allows only once.
var once = []string{"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject"}

// CheckMessage checks what was submitted, and puts fields before it.
func (p *Headers) CheckMessage(_ context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	submitted, err := message.HeaderOf(m)
	if err != nil {
		return err
	}
	prepended, err := message.ReadHeader(bytes.NewReader(m.Prepended()))
	if err != nil {
		return err
	}
	header := slices.Concat(prepended, submitted)
	if err := p.required(header); err != nil {
		return err
	}
	for _, name := range []string{"Bcc", "Resent-Bcc"} {
		if p.RefuseBcc && submitted.Count(name) > 0 {
			return refuse("refuse_bcc", name+" header field would be seen by everybody: leave it out")
		}
	}
	if p.Strict {
		if err := strict(submitted, s.Entry.SMTPUTF8); err != nil {
			return err
		}
	}
	m.Prepend(p.fields(s, header))
	return nil
}

func (p *Headers) required(header message.Header) error {
	for _, name := range p.Require {
		f, _ := header.First(name)
		switch n := header.Count(name); {
		case n == 0:
			return refuse("require "+name, name+" header field is missing")
		case n > 1 && has(once, name):
			return refuse("require "+name, fmt.Sprintf("%s header field appears %d times", name, n))
		case f.Value() == "":
			return refuse("require "+name, name+" header field is empty")
		}
	}
	return nil
}

// fields are what is put before the message.
func (p *Headers) fields(s *caddymsa.Submission, header message.Header) string {
	var b strings.Builder
	for _, f := range p.prepend {
		b.WriteString(f.of(s))
	}
	for _, name := range p.AddMissing {
		switch {
		case header.Count(name) > 0:
		case strings.EqualFold(name, "Date"): // RFC 5322 section 3.3
			b.WriteString("Date: " + p.now().Format("Mon, 2 Jan 2006 15:04:05 -0700") + "\r\n")
		default: // RFC 5322 section 3.6.4
			b.WriteString("Message-ID: <" + p.id() + "@" + s.Hostname + ">\r\n")
		}
	}
	return b.String()
}

// has tells whether the name is in names, whose case does not matter.
func has(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

func refuse(rule, text string) error {
	return &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: rule, Text: text}
}

// Interface guards
var (
	_ caddy.Provisioner      = (*Headers)(nil)
	_ caddymsa.MessagePolicy = (*Headers)(nil)
)
