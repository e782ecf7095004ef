// Package policyheaders requires header fields and puts some before a message.
package policyheaders

import (
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
	// Require are fields that a message must have, such as Date and Message-ID. Those that RFC 5322
	// section 3.6 allows but once may not stand there twice either.
	Require []string `json:"require,omitempty"`
	// AddMissing are fields that are put before a message which has none: Date, Message-ID (RFC
	// 6409 section 8). Default: none.
	AddMissing []string `json:"add_missing,omitempty"`
	// Prepend are fields, "Name: value", that are put before every message, the first one on top. Values
	// may have {msa.user}, {msa.sender}, {msa.queue_id} and {msa.remote_ip}; other placeholders are
	// resolved once, when the config is loaded.
	Prepend []string `json:"prepend,omitempty"`
	// RefuseBcc refuses a message that has a Bcc field, since nothing is removed and everybody would
	// read it.
	RefuseBcc bool `json:"refuse_bcc,omitempty"`
	// Strict refuses a header with a line that is no field, a line of over 998 octets (RFC 5322
	// section 2.1.1), or octets above 127 in a message that came without SMTPUTF8 (RFC 6532).
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
		if !message.IsName(name) {
			return fmt.Errorf("headers: require: %q is no field name", name)
		}
	}
	for _, name := range p.AddMissing {
		if !slices.ContainsFunc([]string{"Date", "Message-ID"}, func(known string) bool { return strings.EqualFold(known, name) }) {
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

// once are the fields that RFC 5322 section 3.6 allows but once.
var once = []string{"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject"}

// CheckMessage checks what was submitted, and puts fields before it.
func (p *Headers) CheckMessage(_ context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	header, err := message.HeaderOf(m)
	if errors.Is(err, message.ErrHeaderTooLong) {
		return refuse("header", "Header is too long")
	}
	if err != nil {
		return err
	}
	for _, name := range p.Require {
		switch n := header.Count(name); {
		case n == 0:
			return refuse("require "+name, name+" header field is missing")
		case n > 1 && slices.ContainsFunc(once, func(o string) bool { return strings.EqualFold(o, name) }):
			return refuse("require "+name, fmt.Sprintf("%s header field stands %d times", name, n))
		}
	}
	if p.RefuseBcc && header.Count("Bcc") > 0 {
		return refuse("refuse_bcc", "Bcc header field would be seen by everybody: leave it out")
	}
	if p.Strict {
		if err := strict(header, s.Entry.SMTPUTF8); err != nil {
			return err
		}
	}
	for _, name := range p.AddMissing {
		switch {
		case header.Count(name) > 0:
		case strings.EqualFold(name, "Date"):
			m.Prepend("Date: " + p.now().Format("Mon, 2 Jan 2006 15:04:05 -0700") + "\r\n")
		default:
			m.Prepend("Message-ID: <" + p.id() + "@" + s.Hostname + ">\r\n")
		}
	}
	for _, f := range slices.Backward(p.prepend) {
		m.Prepend(f.of(s))
	}
	return nil
}

func refuse(rule, text string) error {
	return &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: rule, Text: text}
}

// maxLine is RFC 5322 section 2.1.1's, without CRLF.
const maxLine = 998

func strict(header message.Header, utf8 bool) error {
	for i, f := range header {
		if f.Name == "" {
			return refuse("strict", fmt.Sprintf("Line of header field %d is no header field", i+1))
		}
		for line := range strings.Lines(string(f.Raw)) {
			if len(strings.TrimRight(line, "\r\n")) > maxLine {
				return refuse("strict", fmt.Sprintf("Line in header field %s is longer than %d octets", f.Name, maxLine))
			}
		}
		if !utf8 && slices.ContainsFunc(f.Raw, func(c byte) bool { return c >= 0x80 }) {
			return refuse("strict", fmt.Sprintf("Header field %s has octets above 127, which need SMTPUTF8", f.Name))
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner      = (*Headers)(nil)
	_ caddymsa.MessagePolicy = (*Headers)(nil)
)
