package cmduser

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

const addApp = "add-app-password"

func manageCommands() []*cobra.Command {
	return []*cobra.Command{listCommand(), showCommand(),
		actionCommand("disable", "Keeps a user out: at once, open sessions included", "is disabled", passwd.Change{Disable: true}),
		actionCommand("enable", "Lets a disabled user in again", "is enabled", passwd.Change{Enable: true}),
		actionCommand("delete", "Deletes a user, application passwords included", "was deleted", passwd.Change{Delete: true}),
		renameCommand(), appCommand()}
}

// actionCommand changes a user of whom only the name is said.
func actionCommand(action, short, done string, change passwd.Change) *cobra.Command {
	p := new(place)
	cmd := &cobra.Command{
		Use: action + " <name>", Short: short, Args: cobra.ExactArgs(1),
		Example: "  caddy msa user " + action + " alice@example.org",
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			answer, err := p.change(action, &adminapi.UserRequest{User: args[0]}, change)
			if err != nil {
				return err
			}
			return tell(cmd, answer, "%s %s\n", terminal.Line(answer.User), done)
		},
	}
	p.flags(cmd)
	return cmd
}

func tell(cmd *cobra.Command, answer *adminapi.UserChanged, format string, args ...any) error {
	fmt.Fprintf(cmd.OutOrStdout(), format, args...)
	if answer.Note != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), terminal.Line(answer.Note))
	}
	return nil
}

func renameCommand() *cobra.Command {
	p := new(place)
	cmd := &cobra.Command{
		Use: "rename <name> <new name>", Short: "Gives a user another name",
		Long: `Gives a user another name. Passwords stay, but for those of DIGEST-MD5, which are hashed with the
name. A user who could send as the old name, because it is an address, no longer can, unless that
address is given by caddy msa user --addresses. When application passwords were last used is still known,
unless the user is renamed with --file.`,
		Example: "  caddy msa user rename alice@example.org alice.jones@example.org",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			if args[1] == "" {
				return errors.New("the new name is required")
			}
			if p.file != "" && p.hasApps(args[0]) {
				fmt.Fprintln(cmd.ErrOrStderr(), "when the application passwords were last used is not known under the new name: a rename through the running server keeps that")
			}
			answer, err := p.change("rename", &adminapi.UserRequest{User: args[0], To: args[1]}, passwd.Change{Rename: args[1]})
			if err != nil {
				return err
			}
			return tell(cmd, answer, "%s is now %s\n", terminal.Line(answer.User), terminal.Line(args[1]))
		},
	}
	p.flags(cmd)
	return cmd
}

func appCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "app-password", Short: "Makes and revokes application passwords",
		Long: `An application password is an additional secret of a user, for one device or program.
"caddy msa user show" lists those that a user has.`}
	cmd.AddCommand(addAppCommand(), revokeAppCommand())
	return cmd
}

func addAppCommand() *cobra.Command {
	p, q := new(place), new(adminapi.UserRequest)
	var realm string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "add <name> <label>", Short: "Makes an application password and shows it, once",
		Example: "  caddy msa user app-password add alice@example.org phone --expires 2027-12-31\n" +
			"  caddy msa user app-password add scanner hall --nets 192.0.2.0/24 --scheme SCRAM-SHA-256,DIGEST-MD5 --realm msa.example.org",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			q.User, q.Label = args[0], args[1]
			for i, scheme := range q.Schemes {
				if strings.EqualFold(scheme, digestMD5) && realm != "" {
					q.Schemes[i] = digestMD5 + ".realm=" + realm
				}
			}
			answer, err := p.change(addApp, q, passwd.Change{New: q.New})
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(terminal.Writer(cmd.OutOrStdout())).Encode(answer)
			}
			name := terminal.Line(answer.User)
			fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s, which is not shown again; log in as %s, or with SCRAM as %s:\n",
				terminal.Line(q.Label), name, name, name+"+"+terminal.Line(q.Label))
			fmt.Fprintln(cmd.OutOrStdout(), answer.Secret)
			return nil
		},
	}
	p.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&q.Expires, "expires", "", "when it ends: a day or a time, 2027-12-31 or 2027-12-31T12:00:00Z (default: never)")
	f.StringSliceVar(&q.AllowNets, "nets", nil, "networks that it may be used from (default: any)")
	f.StringSliceVar(&q.Schemes, "scheme", nil, "how it is stored: SCRAM-SHA-256 (the default), DIGEST-MD5, SHA512-CRYPT, ARGON2ID")
	f.StringVar(&realm, "realm", "", "realm for DIGEST-MD5")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&q.New, "new", false, "make the user where there is none, without asking another backend who it is (app_passwords)")
	return cmd
}

func revokeAppCommand() *cobra.Command {
	p := new(place)
	cmd := &cobra.Command{
		Use: "revoke <name> <label>", Short: "Revokes an application password, and ends the sessions that logged in with it", Args: cobra.ExactArgs(2),
		Example: "  caddy msa user app-password revoke alice@example.org phone",
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			answer, err := p.change("revoke-app-password", &adminapi.UserRequest{User: args[0], Label: args[1]}, passwd.Change{RevokeApp: args[1]})
			if err != nil {
				return err
			}
			return tell(cmd, answer, "%s of %s is revoked\n", terminal.Line(args[1]), terminal.Line(answer.User))
		},
	}
	p.flags(cmd)
	return cmd
}
