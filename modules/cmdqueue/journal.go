package cmdqueue

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func journalCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "journal", Short: "Looks after the journal: what is kept of what became of messages"}
	cmd.AddCommand(journalStatCommand(), purgeCommand())
	return cmd
}

func journalStatCommand() *cobra.Command {
	a, asJSON := new(adminclient.Admin), false
	cmd := &cobra.Command{
		Use:     "stat",
		Short:   "Says how much the journal keeps, since when, and its limits",
		Example: "  caddy msa journal stat",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			var j adminapi.Journals
			if err := a.Get("/msa/journal/stat", &j); err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(terminal.Writer(cmd.OutOrStdout()))
				enc.SetIndent("", "  ")
				return enc.Encode(&j)
			}
			return printJournals(cmd.OutOrStdout(), &j)
		},
	}
	a.Flags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printJournals(w io.Writer, j *adminapi.Journals) error {
	if j.Off {
		fmt.Fprintln(w, "The journal is off: nothing new is kept. What there is goes in its time.")
	} else {
		fmt.Fprintf(w, "Kept for %s, at most %s in each spool.\n", span(j.Keep), humanize.IBytes(uint64(max(0, j.MaxSize))))
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SPOOL\tFACTS\tSIZE\tOLDEST\tREFUSALS DROPPED")
	for _, s := range j.Journals {
		name := printable(s.Spool)
		if s.Former {
			name += " (former)"
		}
		switch {
		case s.None:
			fmt.Fprintf(table, "%s\tkeeps no journal\n", name)
		case s.Oldest.IsZero():
			fmt.Fprintf(table, "%s\t%d\t%s\t-\t%d\n", name, s.Facts, humanize.IBytes(uint64(max(0, s.Octets))), s.Dropped)
		default:
			fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%d\n", name, s.Facts, humanize.IBytes(uint64(max(0, s.Octets))), stamp(s.Oldest), s.Dropped)
		}
	}
	return table.Flush()
}

// span is a duration in one unit, where it is whole in one.
func span(d time.Duration) string {
	for _, unit := range []struct {
		name string
		is   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}} {
		if d >= unit.is && d%unit.is == 0 {
			return fmt.Sprintf("%d%s", d/unit.is, unit.name)
		}
	}
	return d.String()
}

// whyNothing says why the journal may not have what was asked for.
func whyNothing(a *adminclient.Admin) string {
	var j adminapi.Journals
	if a.Get("/msa/journal/stat", &j) != nil {
		return ""
	}
	var oldest time.Time
	kept := false
	for _, s := range j.Journals {
		kept = kept || !s.None
		if !s.Oldest.IsZero() && (oldest.IsZero() || s.Oldest.Before(oldest)) {
			oldest = s.Oldest
		}
	}
	var reasons []string
	switch {
	case !kept:
		reasons = append(reasons, "This spool keeps no journal.")
	case j.Off:
		reasons = append(reasons, "The journal is off (journal off in the configuration): nothing new is kept.")
	}
	switch {
	case !oldest.IsZero():
		reasons = append(reasons, fmt.Sprintf("It begins %s (keep %s, max_size %s): what happened before is forgotten.", stamp(oldest), span(j.Keep), humanize.IBytes(uint64(max(0, j.MaxSize)))))
	case kept:
		reasons = append(reasons, "It is empty.")
	}
	return strings.Join(reasons, " ")
}

func purgeCommand() *cobra.Command {
	var (
		a             = new(adminclient.Admin)
		address, user string
		yes           bool
	)
	cmd := &cobra.Command{
		Use:   "purge --address <mail address>",
		Short: "Takes an address out of the journal",
		Long: `Takes a mail address out of the journal, wherever it is: as user, sender, recipient and
operator, and in replies and errors. (purged) takes its place, and nothing recovers it. A user
whose name is not an address is purged with --user. Messages in the queue, log files
and backups are not touched, and what happens from now on is recorded as before. The
server's log says that a purge was done, and by whom, without the address.

--address is a mail address here; the admin API's is --admin.`,
		Example: `  caddy msa journal purge --address bob@example.net`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name := address
			switch {
			case address == "" && user == "":
				return errors.New("name the mail address to be purged with --address, or a user whose name is not an address with --user")
			case address != "" && user != "":
				return errors.New("--address and --user do not go together: purge one after the other")
			case name == "":
				name = user
			}
			cmd.SilenceUsage = true
			if !yes {
				if err := confirm(cmd, fmt.Sprintf("To be taken out of the journal: %s. Type yes to go on: ", printable(name))); err != nil {
					return err
				}
			}
			var answer adminapi.JournalPurged
			if err := a.Post("/msa/journal-actions/purge", &adminapi.JournalPurge{Address: name}, &answer); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d facts changed\n", answer.Facts)
			return err
		},
	}
	a.FlagsBeside(cmd.Flags(), &address, "mail address to be purged")
	cmd.Flags().StringVar(&user, "user", "", "name of a user to be purged")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
