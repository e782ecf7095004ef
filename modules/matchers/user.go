package matchers

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(User))
}

// User matches the name of the user who submits, without regard to case.
type User struct {
	// Users to match. At least one.
	Users []string

	folded []string
}

// CaddyModule returns the Caddy module information.
func (*User) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.user", New: func() caddy.Module { return new(User) }}
}

// UnmarshalJSON reads the list of users.
func (m *User) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &m.Users) }

// MarshalJSON writes the list of users.
func (m *User) MarshalJSON() ([]byte, error) { return json.Marshal(m.Users) }

// Provision folds the names.
func (m *User) Provision(caddy.Context) error {
	if len(m.Users) == 0 {
		return errors.New("at least one user is required")
	}
	for _, user := range m.Users {
		m.folded = append(m.folded, names.Fold(user))
	}
	return nil
}

// Moment implements caddymsa.Matcher.
func (*User) Moment() caddymsa.Moment { return caddymsa.MomentConnection }

// Match implements caddymsa.Matcher.
func (m *User) Match(e *queue.Entry, _ *queue.Recipient) (bool, error) {
	return slices.Contains(m.folded, names.Fold(e.User)), nil
}

// Facet implements caddymsa.FacetMatcher.
func (m *User) Facet() (caddymsa.Facet, []string) { return caddymsa.FacetUser, m.folded }

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	user <names...>
func (m *User) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return values(d, &m.Users) }

// Interface guards
var (
	_ caddy.Provisioner     = (*User)(nil)
	_ caddymsa.Matcher      = (*User)(nil)
	_ caddymsa.FacetMatcher = (*User)(nil)
	_ caddyfile.Unmarshaler = (*User)(nil)
)
