// Package authstatic authenticates users that stand in the configuration.
package authstatic

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
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

	// Case is how names compare: fold, without regard to case, or exact. Default fold.
	Case names.Case `json:"case,omitempty"`

	// Cache is how long a password that was right is not hashed again. Default 5m;
	// negative: always hash.
	Cache conf.Duration `json:"cache,omitempty"`

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
	// Attributes of the user, for policies and matchers.
	Attributes map[string]string `json:"attributes,omitempty"`
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
	table, err := passwd.NewTable(users, s.Case)
	if err != nil {
		return err
	}
	secret, err := caddymsa.DecoySecret(ctx)
	if err != nil {
		return err
	}
	s.table = tableauth.New(secret, tableauth.NewCache(s.Cache), s.Case)
	s.table.Swap(table)
	return nil
}

// placeholder is one of Caddy's, such as {env.HASH}, which no scheme looks like.
var placeholder = regexp.MustCompile(`^\{(env|file|system|http|vars|time)\.`)

// parse makes a user of what stands in the configuration.
func (u User) parse() (passwd.User, error) {
	if u.Name == "" || u.Password == "" {
		return passwd.User{}, errors.New("name and password are required")
	}
	if placeholder.MatchString(u.Password) {
		return passwd.User{}, errors.New("password: a placeholder cannot stand for it; write the hash itself, as caddy msa user prints it: the password cannot be read from it")
	}
	parsed, err := passwd.NewUser(u.Name)
	if err == nil {
		if err = parsed.AddPassword(u.Password); err != nil && !strings.HasPrefix(u.Password, "{") {
			err = errors.New("password: is not a hash; caddy msa user makes one of a password")
		}
	}
	for _, a := range u.Addresses {
		if err == nil {
			err = parsed.AddAddress(a)
		}
	}
	if err == nil {
		err = parsed.Problem
	}
	if err != nil {
		return passwd.User{}, err
	}
	for _, c := range parsed.Credentials {
		switch scheme, _, _ := strings.Cut(c.Scheme(), "."); scheme {
		case "PLAIN", "CLEAR", "CLEARTEXT", "DIGEST-MD5":
			return passwd.User{}, fmt.Errorf("scheme %s can be turned into a login by whoever reads the configuration; use a one-way hash or SCRAM-SHA-256, as caddy msa user makes them, or a users file", c.Scheme())
		}
	}
	parsed.Disabled = parsed.Disabled || u.Disabled
	parsed.Attributes = u.Attributes
	return parsed, nil
}

// parseUser takes a name, hashes and addresses; or the line that `caddy msa user` prints, in quotes or
// not.
func parseUser(args []string) (User, error) {
	if len(args) > 0 && strings.Contains(args[0], ":") {
		line := strings.Join(args, " ")
		u, err := passwd.ParseLine(line)
		if err != nil {
			return User{}, err
		}
		if len(u.AllowNets) > 0 || u.AllowLocal || u.Disabled && u.Problem == nil {
			return User{}, errors.New("user: allow_nets, nologin and fail are for users files")
		}
		if len(u.Apps) > 0 {
			return User{}, errors.New("user: app_password is for users files and databases; app_passwords holds those of other users")
		}
		_, password, _ := strings.Cut(line, ":")
		password, _, _ = strings.Cut(password, ":")
		user := User{Name: u.Name, Password: password, Attributes: u.Attributes}
		for _, a := range u.Addresses {
			user.Addresses = append(user.Addresses, a.String())
		}
		return user, nil
	}
	if len(args) < 2 {
		return User{}, errors.New("user takes a name and a hash, and addresses, or a line that caddy msa user prints")
	}
	hashes := 2 // further ones are known by their scheme; no address begins with a brace
	for hashes < len(args) && strings.HasPrefix(args[hashes], "{") {
		hashes++
	}
	return User{Name: args[0], Password: strings.Join(args[1:hashes], " "), Addresses: args[hashes:]}, nil
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	static {
//		user <name> <hash...> [<address...>]
//		user <line>
//		cache <duration>|off
//		case fold|exact
//	}
func (s *Static) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	return conf.Block(d,
		conf.Each("user", func(d *caddyfile.Dispenser) error {
			u, err := parseUser(d.RemainingArgs())
			if err != nil {
				return d.WrapErr(err)
			}
			s.Users = append(s.Users, u)
			return nil
		}),
		tableauth.CacheSetting(&s.Cache),
		conf.Value("case", &s.Case),
	)
}
