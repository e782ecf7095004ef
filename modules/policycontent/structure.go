package policycontent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// PartRule says how many parts of a media type there are.
type PartRule struct {
	// Type is a media type, with "*" for any characters, as in "image/*". Required.
	Type string `json:"type,omitempty"`
	// Count is how many: "1", "0-1", "2-5", or "1-" for one or more. Default "1".
	Count string `json:"count,omitempty"`
}

type partRule struct {
	mediaType string
	match     patterns
	min, max  int // max is -1 without one
	words     string
}

func compileParts(rules []PartRule) ([]partRule, error) {
	var parts []partRule
	for _, r := range rules {
		if !strings.Contains(r.Type, "/") {
			return nil, fmt.Errorf("parts: %q is not a media type; write it as in application/xml", r.Type)
		}
		if r.Count == "" {
			r.Count = "1"
		}
		p := partRule{mediaType: r.Type, match: compile([]string{r.Type})}
		var err error
		if p.min, p.max, err = conf.ParseRange(r.Count); err != nil {
			return nil, fmt.Errorf("parts: %s: %w", r.Type, err)
		}
		switch p.max {
		case p.min:
			p.words = fmt.Sprintf("exactly %d required", p.min)
		case -1:
			p.words = fmt.Sprintf("at least %d required", p.min)
		default:
			p.words = fmt.Sprintf("%d to %d allowed", p.min, p.max)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func compileDefects(names []string) (message.Defects, error) {
	var allowed message.Defects
	for _, name := range names {
		d, ok := message.ParseDefect(name)
		switch {
		case name == "*":
			allowed = ^message.Defects(0)
		case !ok:
			return 0, fmt.Errorf("allow_defects: there is no %q; there are %s", name, strings.Join(message.DefectNames(), ", "))
		}
		allowed |= d
	}
	return allowed, nil
}

// validateWords checks the settings whose values are of a few.
func validateWords(c *Content) error {
	for _, s := range []struct {
		setting string
		values  []string
		known   []string
	}{
		{"smime", c.SMIME, []string{"signed", "encrypted"}},
		{"transfer_encodings", c.TransferEncodings, []string{"7bit", "8bit", "binary", "base64", "quoted-printable"}},
	} {
		for _, v := range s.values {
			if !slices.Contains(s.known, v) {
				return fmt.Errorf("%s: there is no %q; there are %s", s.setting, v, strings.Join(s.known, ", "))
			}
		}
	}
	for _, label := range c.Charsets {
		if !message.KnownCharset(label) && message.Charset(label) == nil {
			return fmt.Errorf("charsets: %q is not a charset that is registered (for example utf-8 or iso-8859-1)", label)
		}
	}
	for _, types := range [][]string{c.AllowMediaTypes, c.ForbidMediaTypes, c.WellFormedXML} {
		for _, t := range types {
			if !strings.Contains(t, "/") {
				return fmt.Errorf("%q is not a media type; write it as in application/xml or image/*", t)
			}
		}
	}
	return nil
}

func (c *Content) checkStructure(s *message.Structure) error {
	switch {
	case len(s.Parts) > c.MaxParts:
		return c.malformed(ruleCount, "The message has %d parts, %d allowed", len(s.Parts), c.MaxParts)
	case s.MaxDepth > c.MaxDepth:
		return c.malformed(ruleDepth, "Parts are nested %d deep, %d allowed", s.MaxDepth, c.MaxDepth)
	case s.Defects.Has(^c.defects):
		return c.defective(s)
	}
	for i := range s.Parts {
		if err := c.checkPart(&s.Parts[i]); err != nil {
			return err
		}
	}
	if err := c.checkParts(s); err != nil {
		return err
	}
	return c.checkSMIME(s)
}

// defective refuses the first part with a defect that matters.
func (c *Content) defective(s *message.Structure) error {
	for i := range s.Parts {
		p := &s.Parts[i]
		if d := p.Defects &^ c.defects; d != 0 {
			return c.malformed(ruleDefects, "%s is malformed: %s", c.part(p), strings.Join(slices.Collect(d.Names()), ", "))
		}
	}
	return nil
}

// part names a part for the client.
func (c *Content) part(p *message.Part) string {
	if p.Parent < 0 {
		return "The message, " + short(p.Type) + ","
	}
	return "Part " + p.Path + ", " + short(p.Type) + ","
}

// incomplete are the media types of what is elsewhere (RFC 2046 sections 5.2.2 and 5.2.3).
var incomplete = []string{"message/partial", "message/external-body"}

func (c *Content) checkPart(p *message.Part) error {
	if c.types.forbid.match(p.Type) {
		return c.forbidden(ruleTypes, "%s has a media type that is not allowed", c.part(p))
	}
	judged := !strings.HasPrefix(p.Type, "multipart/") || slices.ContainsFunc(c.AllowMediaTypes, func(t string) bool { return strings.HasPrefix(strings.ToLower(t), "multipart/") })
	if judged && !c.types.admit(p.Type) {
		return c.forbidden(ruleTypes, "%s has a media type that is not allowed", c.part(p))
	}
	if slices.Contains(incomplete, p.Type) && !slices.Contains(c.AllowMediaTypes, p.Type) {
		return c.forbidden(ruleComplete, "%s is not all there", c.part(p))
	}
	for _, name := range p.FileNames {
		if !c.names.admitFile(name) {
			return c.forbidden(ruleNames, "%s has a file name that is not allowed: %s", c.part(p), short(name))
		}
	}
	if p.Container {
		return nil
	}
	if c.MaxPartSize > 0 && p.DecodedSize > c.MaxPartSize {
		return c.malformed(ruleSize, "%s has %d octets, %d allowed", c.part(p), p.DecodedSize, c.MaxPartSize)
	}
	if len(c.Charsets) > 0 && p.Charset != "" && !slices.Contains(c.sets, p.Charset) {
		return c.malformed(ruleCharsets, "%s is in charset %s; allowed: %s", c.part(p), short(p.Charset), strings.Join(c.Charsets, ", "))
	}
	if len(c.TransferEncodings) > 0 && !slices.Contains(c.TransferEncodings, p.Encoding) {
		return c.malformed(ruleEncodings, "%s is encoded as %s; allowed: %s", c.part(p), short(p.Encoding), strings.Join(c.TransferEncodings, ", "))
	}
	return nil
}

// checkParts counts the parts of each rule. What is in an embedded message does not count.
func (c *Content) checkParts(s *message.Structure) error {
	if len(c.parts) == 0 {
		return nil
	}
	counts := make([]int, len(c.parts))
	embedded := make([]bool, len(s.Parts)) // it is in an embedded message
	for i := range s.Parts {
		p := &s.Parts[i]
		multipart := p.Container && strings.HasPrefix(p.Type, "multipart/")
		if p.Parent >= 0 {
			parent := &s.Parts[p.Parent]
			embedded[i] = embedded[p.Parent] || strings.HasPrefix(parent.Type, "message/")
		}
		if multipart || embedded[i] {
			continue
		}
		rule := slices.IndexFunc(c.parts, func(r partRule) bool { return r.match.match(p.Type) })
		if rule < 0 {
			return c.malformed(ruleParts, "%s has no place in this message flow", c.part(p))
		}
		counts[rule]++
	}
	for i, r := range c.parts {
		switch n := counts[i]; {
		case n == 0 && r.min > 0:
			return c.malformed(ruleParts, "No %s part: %s", r.mediaType, r.words)
		case n < r.min || r.max >= 0 && n > r.max:
			return c.malformed(ruleParts, "%d parts %s: %s", n, r.mediaType, r.words)
		}
	}
	return nil
}

// checkSMIME looks at what the message is as a whole (RFC 8551 section 3).
func (c *Content) checkSMIME(s *message.Structure) error {
	if len(c.SMIME) == 0 {
		return nil
	}
	kind := smime(s)
	if slices.Contains(c.SMIME, kind) {
		return nil
	}
	return c.forbidden(ruleSMIME, "The message is not S/MIME %s", strings.Join(c.SMIME, " or "))
}

// smime tells what kind of S/MIME message it is; empty: none.
func smime(s *message.Structure) string {
	root := s.Root()
	switch root.Type {
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		switch strings.ToLower(root.Params["smime-type"]) {
		case "signed-data":
			return "signed"
		case "enveloped-data", "authenveloped-data":
			return "encrypted"
		}
	case "multipart/signed":
		var children []*message.Part
		for i := range s.Parts {
			if s.Parts[i].Parent == 0 {
				children = append(children, &s.Parts[i])
			}
		}
		if isSignature(root.Params["protocol"]) && len(children) == 2 && isSignature(children[1].Type) && children[1].DecodedSize > 0 {
			return "signed"
		}
	}
	return ""
}

func isSignature(mediaType string) bool {
	mediaType = strings.ToLower(mediaType)
	return mediaType == "application/pkcs7-signature" || mediaType == "application/x-pkcs7-signature"
}
