package policycontent

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// HeaderRule limits all header fields of a name.
type HeaderRule struct {
	// Name of the header field; its case does not matter. Required.
	Name string `json:"name,omitempty"`
	// MaxCount is how often the field may be there. Default: any number.
	MaxCount int `json:"max_count,omitempty"`
	// MaxLength is how many characters its value may have, unfolded and with encoded words decoded.
	// Default: any number.
	MaxLength int `json:"max_length,omitempty"`
	// Match is a regular expression for the whole of its value, unfolded and with encoded words
	// decoded (RFC 2047). Default: any value.
	Match string `json:"match,omitempty"`
}

type headerRules struct {
	forbid patterns
	allow  patterns
	match  []*regexp.Regexp // of Headers; nil where there is none
}

func (c *Content) compileHeaders() (headerRules, error) {
	if err := c.checkNames(); err != nil {
		return headerRules{}, err
	}
	r := headerRules{forbid: compile(c.ForbidHeaders), allow: compile(c.AllowHeaders)}
	if r.allow != nil {
		r.allow = append(r.allow, compile(c.RequireHeaders)...)
	}
	for _, h := range c.Headers {
		if h.MaxCount < 0 || h.MaxLength < 0 {
			return r, fmt.Errorf("header %s: a limit is negative", h.Name)
		}
		var match *regexp.Regexp
		if h.Match != "" {
			var err error
			if match, err = regexp.Compile(`\A(?:` + h.Match + `)\z`); err != nil {
				return r, fmt.Errorf("header %s: match: %w", h.Name, err)
			}
		}
		r.match = append(r.match, match)
		if r.allow != nil {
			r.allow = append(r.allow, compile([]string{h.Name})...)
		}
	}
	return r, nil
}

// checkNames refuses what no header field can be called, as it would match none.
func (c *Content) checkNames() error {
	for _, s := range []struct {
		setting string
		names   []string
	}{{"require_headers", c.RequireHeaders}, {"forbid_headers", c.ForbidHeaders}, {"allow_headers", c.AllowHeaders}} {
		for _, name := range s.names {
			if err := checkName(name, s.setting != "require_headers"); err != nil {
				return fmt.Errorf("%s: %w", s.setting, err)
			}
		}
	}
	for _, h := range c.Headers {
		if h.Name == "" {
			return fmt.Errorf("headers: a rule has no name: say which field it is about, as in Subject")
		}
		if err := checkName(h.Name, false); err != nil {
			return fmt.Errorf("header: %w", err)
		}
	}
	return nil
}

func checkName(name string, pattern bool) error {
	switch bare := strings.TrimSuffix(name, ":"); {
	case bare != name && message.IsName(bare):
		return fmt.Errorf("%q: leave the colon out, which is no part of the name", name)
	case !message.IsName(name):
		return fmt.Errorf("%q is not the name of a header field (for example Subject)", name)
	case !pattern && strings.Contains(name, "*"):
		return fmt.Errorf("%q is a pattern; name one header field here, in full", name)
	}
	return nil
}

func (c *Content) checkHeader(header message.Header) error {
	for _, name := range c.RequireHeaders {
		if !slices.ContainsFunc(header.Values(name), func(v string) bool { return v != "" }) {
			return c.malformed("header "+name, "Header field %s is missing or empty", name)
		}
	}
	for _, f := range header {
		switch {
		case f.Name == "":
		case c.headers.forbid.match(f.Name):
			return c.forbidden("forbid_headers", "Header field %s is not allowed", short(f.Name))
		case c.headers.allow != nil && !c.headers.allow.match(f.Name):
			return c.forbidden("allow_headers", "Header field %s is not allowed", short(f.Name))
		}
	}
	for i, h := range c.Headers {
		if n := header.Count(h.Name); h.MaxCount > 0 && n > h.MaxCount {
			return c.malformed("header "+h.Name, "Header field %s appears %d times, %d allowed", h.Name, n, h.MaxCount)
		}
		for _, f := range header {
			if !f.Is(h.Name) {
				continue
			}
			text := f.Text()
			if n := utf8.RuneCountInString(text); h.MaxLength > 0 && n > h.MaxLength {
				return c.malformed("header "+h.Name, "Header field %s has %d characters, %d allowed", h.Name, n, h.MaxLength)
			}
			if m := c.headers.match[i]; m != nil && !m.MatchString(text) {
				return c.malformed("header "+h.Name, "Header field %s does not have the form that this message flow asks for: %s", h.Name, short(text))
			}
		}
	}
	return nil
}

// short keeps a text of the client's from filling the reply.
func short(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
