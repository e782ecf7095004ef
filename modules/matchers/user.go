package matchers

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(User))
}

// User matches the name of the user who submits. In JSON it is a list of names, or an object with users
// and case.
type User struct {
	// Users to match. At least one.
	Users []string `json:"users,omitempty"`

	// Case is how names compare: fold, without regard to case, or exact. Default fold.
	Case names.Case `json:"case,omitempty"`

	keys   []string
	folded []string
}

// CaddyModule returns the Caddy module information.
func (*User) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.user", New: func() caddy.Module { return new(User) }}
}

// fields are User without its methods.
type fields User

// UnmarshalJSON reads a list of users, or an object.
func (m *User) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		return caddy.StrictUnmarshalJSON(b, (*fields)(m))
	}
	return json.Unmarshal(b, &m.Users)
}

// MarshalJSON writes the list of users, or an object if there is more to say.
func (m *User) MarshalJSON() ([]byte, error) {
	if m.Case != names.Folded {
		return json.Marshal((*fields)(m))
	}
	return json.Marshal(m.Users)
}

// Provision folds the names.
func (m *User) Provision(caddy.Context) error {
	if len(m.Users) == 0 {
		return errors.New("at least one user is required")
	}
	if err := conf.ExpandAll(conf.PlaceList("users", m.Users)); err != nil {
		return err
	}
	for _, user := range m.Users {
		m.keys = append(m.keys, m.Case.Key(user))
		m.folded = append(m.folded, names.Fold(user))
	}
	return nil
}

// Moment implements caddymsa.Matcher.
func (*User) Moment() caddymsa.Moment { return caddymsa.MomentConnection }

// Match implements caddymsa.Matcher.
func (m *User) Match(e *queue.Entry, _ *queue.Recipient) (bool, error) {
	return slices.Contains(m.keys, m.Case.Key(e.User)), nil
}

// Facet implements caddymsa.FacetMatcher.
func (m *User) Facet() (caddymsa.Facet, []string) { return caddymsa.FacetUser, m.folded }

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	user <names...> {
//		case fold|exact
//	}
func (m *User) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return values(d, &m.Users, conf.Value("case", &m.Case))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*User)(nil)
	_ caddymsa.Matcher      = (*User)(nil)
	_ caddymsa.FacetMatcher = (*User)(nil)
	_ caddyfile.Unmarshaler = (*User)(nil)
)
