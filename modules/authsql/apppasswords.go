package authsql

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// AppPasswords says whether the database has application passwords. In JSON it is false, true or "only".
type AppPasswords string

// What there is of them.
const (
	NoAppPasswords   AppPasswords = ""
	AppPasswordsToo  AppPasswords = "too" // beside the users
	AppPasswordsOnly AppPasswords = "only"
)

// UnmarshalJSON reads one.
func (a *AppPasswords) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "false", "null":
		*a = NoAppPasswords
	case "true":
		*a = AppPasswordsToo
	case `"only"`:
		*a = AppPasswordsOnly
	default:
		return fmt.Errorf(`app_passwords: %s is not true, false or "only"`, b)
	}
	return nil
}

// MarshalJSON is the opposite of UnmarshalJSON.
func (a AppPasswords) MarshalJSON() ([]byte, error) {
	switch a {
	case NoAppPasswords:
		return []byte("false"), nil
	case AppPasswordsToo:
		return []byte("true"), nil
	}
	return []byte(`"only"`), nil
}

// setting reads app_passwords [only].
func (a *AppPasswords) setting(name string) conf.Setting {
	return conf.Func(name, func(d *caddyfile.Dispenser) error {
		switch args := d.RemainingArgs(); {
		case len(args) == 0:
			*a = AppPasswordsToo
		case len(args) == 1 && args[0] == "only":
			*a = AppPasswordsOnly
		default:
			return d.Errf("%s takes nothing, or only", name)
		}
		return nil
	})
}

// HoldsAppPasswords tells whether users may have some here.
func (s *SQL) HoldsAppPasswords() bool { return s.AppPasswords != NoAppPasswords }
