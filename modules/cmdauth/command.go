// Package cmdauth is `caddy msa auth`: it asks the running server about its auth backends.
package cmdauth

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/prompt"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) { msa.AddCommand(newCommand()) })
}

func newCommand() *cobra.Command {
	var a adminclient.Admin
	cmd := &cobra.Command{Use: "auth", Short: "Asks the running server about its auth backends"}
	a.Flags(cmd.PersistentFlags())
	cmd.AddCommand(testCommand(&a), reloadCommand(&a))
	return cmd
}

func testCommand(a *adminclient.Admin) *cobra.Command {
	var q adminapi.AuthTestRequest
	var stdin, noPassword bool
	cmd := &cobra.Command{
		Use:   "test <user>",
		Short: "Says which backend accepts a user, and with which mechanisms",
		Long: `Asks each auth backend of the running server by itself, in their order, whether it
accepts the user with the password, and which of the mechanisms offered would let
the user in; or why it does not: the user is unknown or disabled, or the password
is wrong, which clients are never told. The password comes from the environment
variable MSA_PASSWORD or, with --password-stdin, from standard input, or is asked for;
with --no-password the answer is what is known of the user. A bearer token comes from
the environment variable MSA_TOKEN.

Exit code: 0 when a backend accepts or knows the user, 1 otherwise.`,
		Example: `  caddy msa auth test alice@example.org
  caddy msa auth test alice@example.org --no-password --server msa.example.org`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			cmd.SilenceUsage = true
			q.User, q.Token = args[0], os.Getenv("MSA_TOKEN")
			switch {
			case stdin:
				q.Password, err = prompt.Line(cmd.InOrStdin())
			case noPassword || q.Token != "":
			case os.Getenv("MSA_PASSWORD") != "": // as of send and doctor
				q.Password = os.Getenv("MSA_PASSWORD")
			default:
				q.Password, err = prompt.Password(cmd.InOrStdin(), "Password: ")
			}
			if err != nil {
				return err
			}
			var answers []adminapi.AuthTestAnswer
			if err := a.Post("/msa/auth/test", &q, &answers); err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), answers)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Server, "server", "", "server, by its name in the configuration (default: all)")
	f.StringVar(&q.IP, "ip", "127.0.0.1", "address that the client comes from")
	f.BoolVar(&stdin, "password-stdin", false, "read the password from standard input, one line, without asking")
	f.BoolVar(&noPassword, "no-password", false, "do not try a password")
	return cmd
}

func show(w io.Writer, answers []adminapi.AuthTestAnswer) error {
	good := false
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SERVER\tBACKEND\tRESULT\tMECHANISMS\tMAY ALSO SEND AS")
	for _, a := range answers {
		good = good || a.Result == "accepted" || a.Result == "known"
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", terminal.Line(a.Server), terminal.Line(a.Backend), dash(result(a)), dash(strings.Join(a.Mechanisms, " ")), dash(strings.Join(a.Addresses, " ")))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, a := range answers {
		if a.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", terminal.Line(a.Backend), terminal.Line(a.Error))
		}
	}
	if !good {
		return errors.New("no backend accepts the user")
	}
	return nil
}

// reasons in words.
var reasons = map[string]string{
	"unknown": "unknown user", "wrong": "wrong password", "disabled": "disabled", "address": "not from this address", "expired": "the application password has expired", "no_credential": "nothing stored that would do",
}

func result(a adminapi.AuthTestAnswer) string {
	if why := reasons[a.Reason]; why != "" {
		return a.Result + ": " + why
	}
	return a.Result
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return terminal.Line(s)
}

func reloadCommand(a *adminclient.Admin) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Has the running server read the data of its auth backends again",
		Long: `Has the running server read the data of its auth backends again, and look up the
users of open sessions at their next message. What cannot be read stays as it was.`,
		Example: "  caddy msa auth reload",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			var done map[string][]string
			if err := a.Post("/msa/reload/auth", nil, &done); err != nil {
				return err
			}
			for _, server := range slices.Sorted(maps.Keys(done)) {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", terminal.Line(server), terminal.Line(strings.Join(done[server], ", ")))
			}
			return nil
		},
	}
}
