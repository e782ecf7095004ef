package cmdqueue

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func lanesCommand(a *adminclient.Admin) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "lanes",
		Short: "Lists the lanes: where messages go next, how many wait there and why",
		Long: `Lists the lanes. A lane is a route and the destination that its messages go to next, such
as relay/smtp.example.net:587: what is known of it, such as that it cannot be reached, is
known for all of them. Lanes of a spool that a former configuration left and that is
being emptied are named with it; pause, resume and probe are for a lane in all spools.
With --json each line is a lane as JSON.`,
		Example: "  caddy msa queue lanes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			var answer adminapi.Lanes
			if err := a.Get("/msa/lanes", &answer); err != nil {
				return err
			}
			return printLanes(cmd.OutOrStdout(), answer.Lanes, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
	cmd.AddCommand(
		laneCommand(a, "pause", "paused", "Stops deliveries to a lane until it is resumed", "Messages wait there: their senders are\ntold of the delay, and they expire as usual. With a local spool the pause ends\nwhen the server is started again."),
		laneCommand(a, "resume", "resumed", "Has a paused lane take messages again", ""),
		laneCommand(a, "probe", "to be tried now", "Tries a lane that is down, without waiting any longer", "The next message that waits there is sent."),
	)
	return cmd
}

func laneCommand(a *adminclient.Admin, name, done, short, long string) *cobra.Command {
	var request adminapi.LaneAction
	cmd := &cobra.Command{
		Use:     name + " <lane>",
		Short:   short,
		Long:    strings.TrimSpace(short + ". " + long),
		Example: "  caddy msa queue lanes " + name + " relay/smtp.example.net:587",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			if request.Lane = args[0]; request.Lane == "" {
				return errors.New("the lane's name is empty; \"caddy msa queue lanes\" has them")
			}
			if err := a.Post("/msa/lane-actions/"+name, &request, new(adminapi.LaneSteered)); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", printable(args[0]), done)
			return err
		},
	}
	if name == "pause" {
		cmd.Flags().StringVar(&request.Reason, "reason", "", "why, for the log and the list")
	}
	return cmd
}

func printLanes(w io.Writer, lanes []adminapi.Lane, asJSON bool) error {
	if asJSON {
		lines := json.NewEncoder(terminal.Writer(w))
		for i := range lanes {
			if err := lines.Encode(&lanes[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(lanes) == 0 {
		_, err := fmt.Fprintln(w, "no lanes")
		return err
	}
	now, st := time.Now(), styleFor(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.StripEscape)
	former := slices.ContainsFunc(lanes, func(l adminapi.Lane) bool { return l.Spool != "" })
	if former {
		fmt.Fprint(table, "FORMER SPOOL\t")
	}
	fmt.Fprintln(table, "LANE\tWAITING\tOLDEST\tIN FLIGHT\tSTATE\tSINCE\tNEXT PROBE\tLAST ANSWER")
	for i := range lanes {
		l := &lanes[i]
		name, answer := l.Name, l.Answer
		if name == "" {
			name = "(unrouted)"
		}
		if l.Cause != "" {
			answer = l.Cause
		}
		if former {
			fmt.Fprintf(table, "%s\t", cmp.Or(printable(l.Spool), "-"))
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%s\t%s\t%s\t%s\n", printable(name), l.Waiting, since(now, l.Oldest), l.Running, st.lane(l.State), since(now, l.Since),
			ahead(now, l.Probe), clip(printable(answer), 80))
	}
	return table.Flush()
}

func since(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return age(now.Sub(t))
}

func ahead(now, t time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case !t.After(now):
		return "now"
	}
	return "in " + age(t.Sub(now))
}

func (s style) lane(state string) string {
	switch state {
	case queue.LaneDown:
		return s.as(red, state)
	case queue.LanePaused:
		return s.as(yellow, state)
	}
	return state
}
