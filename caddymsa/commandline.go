package caddymsa

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// explained has a command say what arguments it takes, where cobra only counts them.
func explained(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		_, takes, _ := strings.Cut(cmd.Use, " ")
		has := "no arguments"
		if takes != "" {
			has = takes
		}
		if len(args) > 0 {
			has += fmt.Sprintf(", and not %q", strings.Join(args, " "))
		}
		if example, _, _ := strings.Cut(strings.TrimSpace(cmd.Example), "\n"); takes != "" && example != "" {
			has += ", as in: " + strings.TrimSuffix(example, "\r")
		}
		return terminal.Error(fmt.Errorf("%s takes %s", cmd.CommandPath(), has))
	}
}

// values are what flags take, by the names that their types have in pflag.
var values = map[string]string{
	"int":      "a whole number (for example 100)",
	"duration": "a duration (for example 30s or 5m)",
	"bool":     "true or false",
}

// flagError says in words that a flag's value is not what it takes.
func flagError(_ *cobra.Command, err error) error {
	wrong, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return terminal.Error(err)
	}
	flag := wrong.GetFlag()
	is := values[flag.Value.Type()]
	switch {
	case errors.Is(err, strconv.ErrRange):
		return terminal.Error(fmt.Errorf("--%s: %q is too large", flag.Name, wrong.GetValue()))
	case is == "":
		return terminal.Error(err)
	}
	return terminal.Error(fmt.Errorf("--%s: %q is not %s", flag.Name, wrong.GetValue(), is))
}
