package cmdqueue

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func traceCommand() *cobra.Command {
	a := new(adminclient.Admin)
	var names []string
	cmd := &cobra.Command{
		Use:   "trace <id>",
		Short: "Tells the whole story of a message: its session, policies, attempts and replies",
		Long: `Tells what became of a message: how it came in, which policies looked at it, each attempt with
host, TLS, reply and duration, what operators did with it, the notifications that were sent about
it and what became of those, how it ended, and what of it is still in the queue. It comes from
the journal, also for what was delivered last week, and needs no log file.

With --log it is told by the log instead, which has the session's lines too: name its files (- for
standard input). JSON and console format are read, compressed or not, also behind what journald,
Docker or Kubernetes put before a line.

Exit code: 0 when something is known of the message, 1 otherwise.`,
		Example: `  caddy msa trace M8KGPHC0XVXD96SE
  journalctl -u caddy-msa | caddy msa trace M8KGPHC0XVXD96SE --log -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			if err := checkIDs(args); err != nil {
				return err
			}
			if len(names) == 0 {
				return traceJournal(cmd.OutOrStdout(), a, args[0])
			}
			l, err := openLogs(names, cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer l.close()
			err = traceLogs(cmd.OutOrStdout(), a, args[0], l)
			for _, warning := range l.warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), terminal.Line(warning))
			}
			return err
		},
	}
	a.Flags(cmd.Flags())
	cmd.Flags().StringArrayVar(&names, "log", nil, "log file, or - for standard input")
	return cmd
}

// traceLogs tells what log files say, and what is in the queue.
func traceLogs(w io.Writer, a *adminclient.Admin, id string, l *logs) error {
	lines, err := l.find(id)
	if err != nil {
		return err
	}
	e, missing := entry(a, id)
	if missing != nil && len(lines) == 0 {
		if len(l.warnings) > 0 {
			return fmt.Errorf("%w; the log files cannot be read, or only in part", missing)
		}
		return fmt.Errorf("%w; the log files say nothing of it", missing)
	}
	st := styleFor(w)
	for _, l := range lines {
		fmt.Fprintln(w, l.text(st))
	}
	if missing == nil {
		if len(lines) > 0 {
			fmt.Fprintln(w)
			e.History = nil // the log has told it
		}
		show(w, e)
	}
	return nil
}

// text is the line for a reader: what was said first, the rest behind it.
func (l logLine) text(st style) string {
	level, _ := l.fields["level"].(string)
	msg, _ := l.fields["msg"].(string)
	msg = printable(msg)
	switch level {
	case "error":
		msg = st.plain(red, msg)
	case "warn":
		msg = st.plain(yellow, msg)
	}
	var words []string
	for _, name := range sortedKeys(l.fields) {
		switch name {
		case "ts", "level", "msg", "logger", "server":
			continue
		}
		words = append(words, st.plain(dim, name+"=")+printable(fieldText(l.fields[name])))
	}
	when := "-"
	switch ts := l.fields["ts"]; {
	case !l.at.IsZero():
		when = stamp(l.at)
	case ts != nil: // in a format of the operator's own
		when = printable(fieldText(ts))
	}
	return st.plain(dim, when) + " " + msg + "  " + strings.Join(words, " ")
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func fieldText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, _ := json.Marshal(v)
	return string(b)
}
