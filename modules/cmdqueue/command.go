// Package cmdqueue is `caddy msa queue`, `history`, `trace` and `journal`: the operator's view of what the
// running server has accepted and what became of it, and the hand on it.
package cmdqueue

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) {
		msa.AddCommand(newCommand(), historyCommand(), traceCommand(), journalCommand())
	})
}

func newCommand() *cobra.Command {
	a := new(adminclient.Admin)
	cmd := &cobra.Command{Use: "queue", Short: "Lists and steers what the running server has to deliver"}
	a.Flags(cmd.PersistentFlags())
	cmd.AddCommand(listCommand(a), showCommand(a), catCommand(a), lanesCommand(a))
	for _, action := range actions {
		cmd.AddCommand(actionCommand(a, action))
	}
	return cmd
}

// filter are the flags that say which messages are meant.
type filter struct{ flags *pflag.FlagSet }

// filterFlags are the admin API's words, and what they mean.
var filterFlags = [][2]string{
	{"user", "only messages of this user"},
	{"server", "only messages of this server"},
	{"sender", "only messages whose return path has this in it"},
	{"recipient", "only messages with a recipient that has this in it"},
	{"state", "only messages that are queued, held or dead"},
	{"error", "only messages whose last error has this in it"},
	{"lane", "only messages with a job that waits in this lane"},
	{"older", "only messages accepted longer ago than this, such as 2h or 3d"},
	{"newer", "only messages accepted less long ago than this"},
}

func newFilter(f *pflag.FlagSet) filter {
	for _, flag := range filterFlags {
		f.String(flag[0], "", flag[1])
	}
	return filter{f}
}

// query is the filter as the admin API takes it. An empty value is an error, and never any: it is what a script's variable has
// that was not set.
func (f filter) query() (url.Values, error) {
	q := make(url.Values)
	for _, flag := range filterFlags {
		name := flag[0]
		value, _ := f.flags.GetString(name)
		switch {
		case !f.flags.Changed(name):
			continue
		case strings.TrimSpace(value) == "":
			return nil, fmt.Errorf("--%s is empty; leave it out where any will do", name)
		case name == "state" && !slices.Contains(states, value):
			return nil, fmt.Errorf("--state: %q is not a state; use queued, held or dead", value)
		case name == "older" || name == "newer":
			if age, err := conf.ParseDuration(value); err != nil || age <= 0 {
				return nil, fmt.Errorf("--%s: %q is not an age (for example 30m, 2h or 3d)", name, value)
			}
		}
		q.Set(name, value)
	}
	return q, nil
}

var states = []string{adminapi.StateQueued, adminapi.StateHeld, adminapi.StateDead}

// any tells whether one of them was given.
func (f filter) any() bool {
	return slices.ContainsFunc(filterFlags, func(flag [2]string) bool { return f.flags.Changed(flag[0]) })
}

func catCommand(a *adminclient.Admin) *cobra.Command {
	return &cobra.Command{
		Use:     "cat <id>",
		Short:   "Prints a message",
		Example: "  caddy msa queue cat M8KGPHC0XVXD96SE | less",
		Long: `Prints a message with the fields that were put before it. The configuration must
allow it (show_content in its queue), and the server's log says that it was read. On a terminal,
control characters are replaced; a pipe or a file gets the octets as they are.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			if err := checkIDs(args); err != nil {
				return err
			}
			message, err := a.OpenAs("/msa/queue-content/"+url.PathEscape(args[0]), "message/rfc822")
			if err != nil {
				return err
			}
			defer message.Close()
			if _, err = io.Copy(terminal.Writer(cmd.OutOrStdout()), message); errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("the message is not whole: the server could not read it to its end; its log says why")
			}
			return err
		},
	}
}
