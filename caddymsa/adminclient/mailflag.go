package adminclient

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"
)

// FlagsBeside adds the flags to a command that asks for mail addresses: --address is one there, and the admin API's is
// --admin. A value of --address that has no @ is the admin API's all the same, as in every other command.
func (a *Admin) FlagsBeside(f *pflag.FlagSet, mail *string, usage string) {
	f.Var(&addresses{a, mail}, "address", usage)
	f.StringVar(&a.address, "admin", "", "address of the admin API (if --config is not used)")
	a.configFlags(f)
	a.flag = "--admin"
}

// addresses are the values of --address.
type addresses struct {
	admin *Admin
	mail  *string
}

// Set implements pflag.Value.
func (a *addresses) Set(text string) error {
	into := &a.admin.address
	switch text = strings.TrimSpace(text); {
	case text == "":
		return errors.New("it is empty")
	case strings.Contains(text, "@") && !strings.HasPrefix(text, "unix/"):
		into = a.mail
	}
	if *into != "" && into == &a.admin.address {
		return errors.New("a mail address has an @, and the admin API's address is specified already")
	}
	if *into != "" {
		return errors.New("it is specified twice")
	}
	*into = text
	return nil
}

// String implements pflag.Value.
func (a *addresses) String() string {
	if a.mail == nil {
		return ""
	}
	return *a.mail
}

// Type implements pflag.Value.
func (*addresses) Type() string { return "string" }
