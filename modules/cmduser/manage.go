package cmduser

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/usersfile"
)

// place is where users are: in a file, or in a backend of the running server.
type place struct {
	admin           adminclient.Admin
	file            string
	caseExact       bool
	server, backend string
	set             *pflag.FlagSet
}

func (p *place) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	p.set = f
	f.StringVar(&p.file, "file", "", "users file to work on, instead of asking the running server")
	f.BoolVar(&p.caseExact, "case-exact", false, "with --file: names differ by case, as the server's setting case exact allows")
	f.StringVar(&p.server, "server", "", "server, by its name in the configuration (default: any)")
	f.StringVar(&p.backend, "backend", "", "backend of that server, such as file or sql (default: any; of several that have the user, the first)")
	p.admin.Flags(f)
}

// check refuses a place that is given and empty, as of a shell's variable that is not set: it would be another one.
func (p *place) check() error {
	for _, name := range []string{"file", "server", "backend"} {
		if f := p.set.Lookup(name); f.Changed && f.Value.String() == "" {
			return fmt.Errorf("--%s is empty; leave it out where the default is meant", name)
		}
	}
	return nil
}

func (p *place) fold() names.Case {
	if p.caseExact {
		return names.Exact
	}
	return names.Folded
}

// table reads the file.
func (p *place) table() (*passwd.Table, error) {
	f, err := os.Open(p.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", p.file)
	}
	table, err := passwd.Parse(f, p.fold())
	if err != nil {
		return nil, fmt.Errorf("%s, %w", p.file, err)
	}
	return table, nil
}

// hasApps tells whether a user of the file has application passwords.
func (p *place) hasApps(name string) bool {
	table, err := p.table()
	if err != nil {
		return false
	}
	u := table.Lookup(name)
	return u != nil && len(u.Apps) > 0
}

func (p *place) query(more url.Values) string {
	q := maps.Clone(more)
	if q == nil {
		q = url.Values{}
	}
	for name, value := range map[string]string{"server": p.server, "backend": p.backend} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// change makes a change in the file, or asks the server to.
func (p *place) change(action string, q *adminapi.UserRequest, change passwd.Change) (*adminapi.UserChanged, error) {
	if err := errors.Join(p.check(), named(q.User)); err != nil {
		return nil, err
	}
	if p.file == "" {
		q.Server, q.Backend = p.server, p.backend
		answer := new(adminapi.UserChanged)
		return answer, p.admin.Post("/msa/user-actions/"+action, q, answer)
	}
	name := usersfile.SpelledIn(p.file, q.User, p.fold())
	answer := &adminapi.UserChanged{User: name, Label: q.Label}
	if action == addApp {
		var err error
		if change.AddApp, answer.Secret, err = passwd.MakeApp(name, q.Label, q.Expires, q.AllowNets, q.Schemes); err != nil {
			return nil, err
		}
	}
	var err error
	if answer.Note, err = usersfile.Change(p.file, p.fold(), name, change); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return answer, nil
}

// named refuses an empty name, which the admin API would take for all users.
func named(user string) error {
	if strings.TrimSpace(user) == "" {
		return errors.New("the user's name is empty; \"caddy msa user list\" has them")
	}
	return nil
}

const addApp = "add-app-password"

func manageCommands() []*cobra.Command {
	return []*cobra.Command{listCommand(), showCommand(),
		actionCommand("disable", "Keeps a user out: at once, open sessions included", "is disabled", passwd.Change{Disable: true}),
		actionCommand("enable", "Lets a disabled user in again", "is enabled", passwd.Change{Enable: true}),
		actionCommand("delete", "Deletes a user, application passwords included", "was deleted", passwd.Change{Delete: true}),
		renameCommand(), appCommand()}
}

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
