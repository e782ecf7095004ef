package matchers

import (
	"errors"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(Attribute))
}

// Attribute matches what the auth backend says of the user who submits.
type Attribute struct {
	// Name of the attribute. Required.
	Name string `json:"name,omitempty"`

	// Values to match, or one of several that the attribute has, separated by commas. Default: any but none.
	Values []string `json:"values,omitempty"`

	// Case is how values compare: fold, without regard to case, or exact. Default fold.
	Case names.Case `json:"case,omitempty"`

	keys []string
}

// CaddyModule returns the Caddy module information.
func (*Attribute) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.attribute", New: func() caddy.Module { return new(Attribute) }}
}

// Provision folds the values.
func (m *Attribute) Provision(caddy.Context) error {
	if m.Name == "" {
		return errors.New("the name of an attribute is required, as in attribute plan gold")
	}
	for _, value := range m.Values {
		m.keys = append(m.keys, m.Case.Key(value))
	}
	return nil
}

// Moment implements caddymsa.Matcher.
func (*Attribute) Moment() caddymsa.Moment { return caddymsa.MomentConnection }

// Match implements caddymsa.Matcher.
func (m *Attribute) Match(e *queue.Entry, _ *queue.Recipient) (bool, error) {
	value := e.Attributes[m.Name]
	if len(m.keys) == 0 || value == "" {
		return len(m.keys) == 0 && value != "", nil
	}
	if slices.Contains(m.keys, m.Case.Key(value)) {
		return true, nil
	}
	for one := range strings.SplitSeq(value, ",") {
		if slices.Contains(m.keys, m.Case.Key(strings.TrimSpace(one))) {
			return true, nil
		}
	}
	return false, nil
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	attribute <name> [<values...>] {
//		case fold|exact
//	}
func (m *Attribute) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the matcher's name
	if !d.Args(&m.Name) {
		return d.Err("attribute takes a name, and values, as in attribute plan gold platinum")
	}
	if args := d.RemainingArgs(); len(args) > 0 {
		m.Values = args
	}
	return conf.Block(d, conf.Value("case", &m.Case))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Attribute)(nil)
	_ caddymsa.Matcher      = (*Attribute)(nil)
	_ caddyfile.Unmarshaler = (*Attribute)(nil)
)
