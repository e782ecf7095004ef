// Package authstatic authenticates users that stand in the configuration.
package authstatic

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

func init() {
	caddy.RegisterModule(new(Static))
}

// Static authenticates users that stand in the configuration, for a handful of
// them. Since the configuration can be read through the admin API, only one-way
// hashes and SCRAM keys are taken; `caddy msa user` makes them.
type Static struct {
	// Users. At least one.
	Users []User `json:"users,omitempty"`

	// Cache is how long a password that was right is not hashed again. Default 5m;
	// negative: always hash.
	Cache caddy.Duration `json:"cache,omitempty"`

	table *tableauth.Backend
}

// User is one user of the configuration.
type User struct {
	// Name to log in with.
	Name string `json:"name,omitempty"`
	// Password is one or more of {SCHEME}hash, separated by a space.
	Password string `json:"password,omitempty"`
	// Addresses that the user may send as, beside a name that is an address.
	Addresses []string `json:"addresses,omitempty"`
	// Disabled users are treated as unknown.
	Disabled bool `json:"disabled,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Static) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.auth.static", New: func() caddy.Module { return new(Static) }}
}

// Provision parses the users.
func (s *Static) Provision(ctx caddy.Context) error {
	if len(s.Users) == 0 {
		return errors.New("at least one user is required, as in user alice@example.org {ARGON2ID}hash")
	}
	var users []passwd.User
	for i, u := range s.Users {
		parsed, err := u.parse()
		if err != nil {
			return fmt.Errorf("user %d (%s): %w", i+1, u.Name, err)
		}
		users = append(users, parsed)
	}
	table, err := passwd.NewTable(users)
	if err != nil {
		return err
	}
	secret, err := caddymsa.DecoySecret(ctx)
	if err != nil {
		return err
	}
	s.table = tableauth.New(secret, tableauth.NewCache(s.Cache))
	s.table.Swap(table)
	return nil
}

// parse makes a line of a users file of the user, and reads that.
func (u User) parse() (passwd.User, error) {
	if u.Name == "" || u.Password == "" {
		return passwd.User{}, errors.New("name and password are required")
	}
	line, err := passwd.FormatLine(u.Name, []string{u.Password}, u.Addresses)
	if err != nil {
		return passwd.User{}, err
	}
	parsed, err := passwd.ParseLine(line)
	if err != nil {
		return passwd.User{}, err
	}
	for _, c := range parsed.Credentials {
		switch scheme, _, _ := strings.Cut(c.Scheme(), "."); scheme {
		case "PLAIN", "CLEAR", "CLEARTEXT", "DIGEST-MD5":
			return passwd.User{}, fmt.Errorf("scheme %s can be turned into a login by whoever reads the configuration; use a one-way hash or SCRAM-SHA-256, or a users file", c.Scheme())
		}
	}
	parsed.Disabled = parsed.Disabled || u.Disabled
	return parsed, nil
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	static {
//		user <name> <hash...> [<address...>]
//		cache <duration>|off
//	}
func (s *Static) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "user":
			args := d.RemainingArgs()
			if len(args) < 2 {
				return d.Err("user takes a name and a hash, as caddy msa user prints it, and addresses")
			}
			hashes := 2 // further ones are known by their scheme; no address begins with a brace
			for hashes < len(args) && strings.HasPrefix(args[hashes], "{") {
				hashes++
			}
			s.Users = append(s.Users, User{Name: args[0], Password: strings.Join(args[1:hashes], " "), Addresses: args[hashes:]})
		case "cache":
			var err error
			if s.Cache, err = tableauth.UnmarshalCache(d); err != nil {
				return err
			}
		default:
			return d.Errf("unknown setting %q; there are user and cache", d.Val())
		}
	}
	return nil
}
