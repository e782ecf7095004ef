// Package policycontent holds messages to a message flow specification.
package policycontent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

func init() {
	caddy.RegisterModule(new(Content))
}

// Content refuses a message that is not as its message flow says: 554 5.6.0 for what is missing
// or malformed, 554 5.7.1 for what is forbidden. The reply names the rule, and what is wrong. The
// message is read as a stream and never changed.
//
// Even without a setting, messages are refused that have too many parts or too deep ones, that
// mail readers would take for different messages (see AllowDefects), or that are not all here
// (message/partial, message/external-body).
type Content struct {
	// Name of the flow, which the client reads before the rule's, as in "declaration/parts".
	// Default: none.
	Name string `json:"name,omitempty"`

	// RequireHeaders are names of header fields that must be there and not be empty. Default: none.
	RequireHeaders []string `json:"require_headers,omitempty"`

	// ForbidHeaders are names of header fields that must not be there; "*" stands for any
	// characters, as in "X-Internal-*". Default: none.
	ForbidHeaders []string `json:"forbid_headers,omitempty"`

	// AllowHeaders are names of all header fields that may be there, with "*" as in ForbidHeaders;
	// those in RequireHeaders and Headers may be too. Default: any.
	AllowHeaders []string `json:"allow_headers,omitempty"`

	// Headers limits header fields. Default: none.
	Headers []HeaderRule `json:"headers,omitempty"`

	// Parts says which parts the message has and how many of each. Each part that is no
	// multipart belongs to the first element that its media type matches, and must belong to one;
	// an embedded message is one part, of type message/rfc822. Default: any.
	Parts []PartRule `json:"parts,omitempty"`

	// AllowMediaTypes are the media types that parts may have, with "*" for any characters, as in
	// "text/*"; parts in embedded messages too. Multiparts are held to it only if it names
	// one, as in "multipart/mixed". Default: any.
	AllowMediaTypes []string `json:"allow_media_types,omitempty"`

	// ForbidMediaTypes are the media types that no part may have. Default: none.
	ForbidMediaTypes []string `json:"forbid_media_types,omitempty"`

	// AllowFileNames are patterns that file names of parts must match: "*" stands for any
	// characters, "?" for one, the case does not matter. Parts without a name pass. Default: any.
	AllowFileNames []string `json:"allow_file_names,omitempty"`

	// ForbidFileNames are patterns that no file name may match, neither of a part nor within an
	// archive, of which zip, tar and gzip are read. An archive that cannot be listed is refused
	// then. Default: none.
	ForbidFileNames []string `json:"forbid_file_names,omitempty"`

	// AllowArchivedNames are patterns that file names within archives must match. An archive that
	// cannot be listed is refused then. Default: any.
	AllowArchivedNames []string `json:"allow_archived_names,omitempty"`

	// MaxParts is how many parts a message may have, multiparts and the message itself counted.
	// Default, and at most: 1000.
	MaxParts int `json:"max_parts,omitempty"`

	// MaxDepth is how deep parts may be nested; 0 is the default, and at most: 20. A multipart
	// whose parts are not multiparts has depth 1.
	MaxDepth int `json:"max_depth,omitempty"`

	// MaxPartSize is the most octets that a part may have behind its transfer encoding. Default:
	// as many as the message may have.
	MaxPartSize int64 `json:"max_part_size,omitempty"`

	// Charsets are those that text parts, and others that name one, may be in, each by any of the
	// names that IANA has registered for it. Text that names none is in us-ascii. Default: any.
	Charsets []string `json:"charsets,omitempty"`

	// TransferEncodings that parts may have: 7bit, 8bit, binary, base64, quoted-printable. Default: any.
	TransferEncodings []string `json:"transfer_encodings,omitempty"`

	// WellFormedXML are media types, "*" allowed, whose parts must be well-formed XML 1.0 without a
	// document type declaration, in UTF-8, UTF-16, US-ASCII, ISO-8859-1 or another charset of the
	// web's. Default: none.
	WellFormedXML []string `json:"well_formed_xml,omitempty"`

	// SMIME says what the message must be as a whole: "signed", "encrypted", or one of both. That is
	// seen from its structure (RFC 8551); no signature is verified and nothing is decrypted. Default: anything.
	SMIME []string `json:"smime,omitempty"`

	// AllowDefects names defects of the MIME structure that do not matter, such as "after_end"; "*"
	// for all. Default: a message with any is refused.
	AllowDefects []string `json:"allow_defects,omitempty"`

	headers  headerRules
	parts    []partRule
	types    lists
	names    lists
	inside   lists
	xml      patterns
	defects  message.Defects
	sets     []string // Charsets, by their one name
	inflates int64    // maxInflated, or what a test says
}

// CaddyModule returns the Caddy module information.
func (*Content) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.content", New: func() caddy.Module { return new(Content) }}
}

// Provision compiles the rules.
func (c *Content) Provision(caddy.Context) (err error) {
	if c.MaxParts == 0 {
		c.MaxParts = message.DefaultParts
	}
	if c.MaxDepth == 0 {
		c.MaxDepth = message.DefaultDepth
	}
	c.types = lists{allow: compile(c.AllowMediaTypes), forbid: compile(c.ForbidMediaTypes)}
	c.names = lists{allow: compile(c.AllowFileNames), forbid: compile(c.ForbidFileNames)}
	c.inside = lists{allow: compile(c.AllowArchivedNames), forbid: c.names.forbid}
	c.xml = compile(c.WellFormedXML)
	c.inflates = maxInflated
	for _, label := range c.Charsets {
		c.sets = append(c.sets, message.CharsetName(label))
	}
	if c.headers, err = c.compileHeaders(); err != nil {
		return err
	}
	if c.parts, err = compileParts(c.Parts); err != nil {
		return err
	}
	c.defects, err = compileDefects(c.AllowDefects)
	return err
}

// Validate finds settings that make no sense.
func (c *Content) Validate() error {
	if c.MaxParts < 1 || c.MaxParts > message.DefaultParts {
		return fmt.Errorf("max_parts is %d: give 1 to %d", c.MaxParts, message.DefaultParts)
	}
	if c.MaxDepth < 1 || c.MaxDepth > message.DefaultDepth {
		return fmt.Errorf("max_depth is %d: give 1 to %d; for messages without parts say which there are, with parts", c.MaxDepth, message.DefaultDepth)
	}
	if c.MaxPartSize < 0 {
		return fmt.Errorf("max_part_size is negative: %d", c.MaxPartSize)
	}
	return validateWords(c)
}

// CheckMessage reads the header, then the structure, and then the parts whose content matters.
func (c *Content) CheckMessage(ctx context.Context, _ *caddymsa.Submission, m *caddymsa.Message) error {
	header, err := message.HeaderOf(m)
	if err != nil {
		return c.unreadable(err)
	}
	if err := c.checkHeader(header); err != nil {
		return err
	}
	s, err := message.PartsOf(ctx, m)
	if err != nil {
		return c.unreadable(err)
	}
	if err := c.checkStructure(s); err != nil {
		return err
	}
	if !c.looksInside(s) {
		return nil
	}
	inflate := &budget{ctx: ctx, left: c.inflates}
	_, err = message.Walk(ctx, m, message.Limits{}, func(p *message.Part, body io.Reader) error {
		if c.xml.match(p.Type) {
			return c.checkXML(p, body)
		}
		switch {
		case c.listsArchives():
			return c.checkArchive(p, body, inflate)
		case c.names.allow != nil && strings.HasPrefix(p.Type, "text/"):
			return c.checkText(p, bufio.NewReader(body))
		}
		return nil
	})
	return err
}

// looksInside tells whether the content of a part matters.
func (c *Content) looksInside(s *message.Structure) bool {
	if c.listsArchives() || c.names.allow != nil {
		return true
	}
	for i := range s.Parts {
		if !s.Parts[i].Container && c.xml.match(s.Parts[i].Type) {
			return true
		}
	}
	return false
}

// Interface guards
var (
	_ caddy.Provisioner      = (*Content)(nil)
	_ caddy.Validator        = (*Content)(nil)
	_ caddymsa.MessagePolicy = (*Content)(nil)
	_ caddyfile.Unmarshaler  = (*Content)(nil)
)
