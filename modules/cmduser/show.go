package cmduser

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/usersfile"
)

func showCommand() *cobra.Command {
	p := new(place)
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show <name>", Short: "Shows a user, without secrets",
		Long: `Shows what is stored of a user, without secrets: schemes, addresses, networks, attributes, and
application passwords with when a message was last accepted with each, as far as the journal goes back.`,
		Example: "  caddy msa user show alice@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			if err := errors.Join(p.check(), named(args[0])); err != nil {
				return err
			}
			var u adminapi.User
			if p.file == "" {
				if err := p.admin.Get("/msa/users/"+url.PathEscape(args[0])+p.query(nil), &u); err != nil {
					return err
				}
			} else {
				table, err := p.table()
				if err != nil {
					return err
				}
				found := table.Lookup(args[0])
				if found == nil {
					return fmt.Errorf("%s: %w", args[0], usersfile.ErrUnknown)
				}
				u.Summary = found.Summary()
			}
			if asJSON {
				return json.NewEncoder(terminal.Writer(cmd.OutOrStdout())).Encode(u)
			}
			show(cmd.OutOrStdout(), &u)
			return nil
		},
	}
	p.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func show(w io.Writer, u *adminapi.User) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-11s %s\n", name, terminal.Line(value))
		}
	}
	line("user", u.Name)
	line("backend", strings.TrimPrefix(u.Server+"/"+u.Backend, "/"))
	line("state", state(u.Summary))
	line("problem", u.Problem)
	line("password", strings.Join(u.Schemes, " "))
	line("addresses", strings.Join(u.Addresses, " "))
	line("networks", strings.Join(u.AllowNets, " "))
	for _, name := range slices.Sorted(maps.Keys(u.Attributes)) {
		line("attribute", name+" = "+u.Attributes[name])
	}
	if len(u.AppPasswords) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nAPP PASSWORD\tEXPIRES\tNETWORKS\tSCHEMES\tLAST USED")
	for _, a := range u.AppPasswords {
		expires := day(a.Expires)
		if a.Expired {
			expires += " (expired)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", terminal.Line(a.Label), expires, dash(strings.Join(a.AllowNets, " ")), dash(strings.Join(a.Schemes, " ")), day(a.LastUsed))
	}
	_ = t.Flush()
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
