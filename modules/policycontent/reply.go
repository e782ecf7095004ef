package policycontent

import (
	"errors"
	"fmt"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// Rules, as the client reads them, behind the flow's name.
const (
	ruleLimits    = "limits"
	ruleDefects   = "defects"
	ruleComplete  = "complete"
	ruleParts     = "parts"
	ruleTypes     = "media_types"
	ruleNames     = "file_names"
	ruleArchives  = "archives"
	ruleDepth     = "max_depth"
	ruleCount     = "max_parts"
	ruleSize      = "max_part_size"
	ruleCharsets  = "charsets"
	ruleEncodings = "transfer_encodings"
	ruleXML       = "well_formed_xml"
	ruleSMIME     = "smime"
)

// unreadable refuses what is too much to be read. Other errors are not the client's fault.
func (c *Content) unreadable(err error) error {
	if over, ok := errors.AsType[*message.LimitError](err); ok {
		return c.malformed(ruleLimits, "The message has more than %d %s", over.Max, over.What)
	}
	if errors.Is(err, message.ErrHeaderTooLong) {
		return c.malformed(ruleLimits, "The message's header has more than %d octets or %d fields", message.MaxHeader, message.MaxFields)
	}
	return err
}

// malformed says that something is missing or not as it should be.
func (c *Content) malformed(rule, format string, args ...any) error {
	return c.refuse(smtp.EnhancedCode{5, 6, 0}, rule, format, args...)
}

// forbidden says that there is something that must not be.
func (c *Content) forbidden(rule, format string, args ...any) error {
	return c.refuse(smtp.EnhancedCode{5, 7, 1}, rule, format, args...)
}

func (c *Content) refuse(status smtp.EnhancedCode, rule, format string, args ...any) error {
	if c.Name != "" {
		rule = c.Name + "/" + rule
	}
	return &caddymsa.Refusal{Code: 554, Status: status, Rule: rule, Text: fmt.Sprintf(format, args...)}
}
