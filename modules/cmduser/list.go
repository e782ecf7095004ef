package cmduser

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func listCommand() *cobra.Command {
	p := new(place)
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "Lists users",
		Long: `Lists the users of the running server's backends that keep their own, file, sql and
app_passwords; or with --file those of a users file.`,
		Example: `  caddy msa user list
  caddy msa user list --file users.passwd`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			if err := p.check(); err != nil {
				return err
			}
			if p.file != "" {
				table, err := p.table()
				if err != nil {
					return err
				}
				return list(cmd.OutOrStdout(), fileUsers(table), asJSON)
			}
			return p.list(cmd.OutOrStdout(), asJSON)
		},
	}
	p.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
	return cmd
}

func fileUsers(table *passwd.Table) []adminapi.UserPage {
	page := adminapi.UserPage{}
	for u := range table.All() {
		page.Users = append(page.Users, u.Summary())
	}
	slices.SortFunc(page.Users, func(a, b passwd.Summary) int { return strings.Compare(a.Name, b.Name) })
	return []adminapi.UserPage{page}
}

// list asks page by page.
func (p *place) list(w io.Writer, asJSON bool) error {
	var first []adminapi.UserPage
	if err := p.admin.Get("/msa/users"+p.query(nil), &first); err != nil {
		return err
	}
	for i := range first {
		page := &first[i]
		for next := page.Next; next != ""; {
			var more []adminapi.UserPage
			of := &place{admin: p.admin, server: page.Server, backend: page.Backend}
			if err := p.admin.Get("/msa/users"+of.query(url.Values{"after": {next}}), &more); err != nil {
				return err
			}
			if len(more) != 1 {
				return errors.New("the answer cannot be read: it is not one page")
			}
			if more[0].Next == next { // it would for ever
				return fmt.Errorf("%s/%s: the list does not go on behind %s: does the statement of your own heed {after}?", page.Server, page.Backend, next)
			}
			page.Users, page.Error, next = append(page.Users, more[0].Users...), more[0].Error, more[0].Next
		}
	}
	return list(w, first, asJSON)
}

func list(w io.Writer, pages []adminapi.UserPage, asJSON bool) error {
	if asJSON {
		return listJSON(w, pages)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "USER\tSTATE\tPASSWORD\tAPP PASSWORDS\tBACKEND")
	var failed error
	for _, page := range pages {
		for _, u := range page.Users {
			var labels []string
			for _, a := range u.AppPasswords {
				labels = append(labels, a.Label)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", terminal.Line(u.Name), state(u), dash(strings.Join(u.Schemes, " ")), dash(strings.Join(labels, " ")), dash(strings.TrimPrefix(page.Server+"/"+page.Backend, "/")))
		}
		failed = errors.Join(failed, failure(page))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return failed
}

// failure is why a backend's users are not known, or not all of them.
func failure(page adminapi.UserPage) error {
	if page.Error == "" {
		return nil
	}
	return fmt.Errorf("%s/%s: %s", terminal.Line(page.Server), terminal.Line(page.Backend), terminal.Line(page.Error))
}

// listJSON has a line for each user, as show has it.
func listJSON(w io.Writer, pages []adminapi.UserPage) (failed error) {
	lines := json.NewEncoder(terminal.Writer(w))
	for _, page := range pages {
		for _, u := range page.Users {
			if err := lines.Encode(adminapi.User{Server: page.Server, Backend: page.Backend, Summary: u}); err != nil {
				return err
			}
		}
		failed = errors.Join(failed, failure(page))
	}
	return failed
}

func state(u passwd.Summary) string {
	switch {
	case u.Disabled:
		return "disabled"
	case u.Problem != "":
		return "unusable"
	}
	return "enabled"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return terminal.Line(s)
}
