package cmdqueue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/prompt"
)

type action struct {
	name, done, short, long string
	flags                   string // of the examples
	final                   bool   // cannot be taken back: asks first
}

var actions = []action{
	{name: "hold", done: "held", short: "Keeps messages until they are released", long: "Nothing is tried and nothing expires while a message is held."},
	{name: "release", done: "released", short: "Releases held messages, which are delivered now"},
	{name: "retry", done: "to be tried now", short: "Has messages delivered now, dead letters included", long: "The time of a dead letter begins anew."},
	{name: "reroute", done: "rerouted", short: "Gives messages to the routes of another server", flags: " --to msa.example.org",
		long: "Within one server, change its routes instead:\nrecipients are routed again at each attempt."},
	{name: "bounce", done: "to be bounced", short: "Gives messages up and tells their senders", long: "The sender reads the reason.", final: true},
	{name: "delete", done: "deleted", short: "Deletes messages; nobody is told", final: true},
}

// batch is how many messages go into one request.
const batch = 100

func actionCommand(a *adminclient.Admin, act action) *cobra.Command {
	var (
		f        filter
		all, yes bool
		request  adminapi.QueueAction
	)
	cmd := &cobra.Command{
		Use:   act.name + " <ids...> | --all [filter]",
		Short: act.short,
		Long: strings.TrimSpace(act.short+". "+act.long) + `

The messages are named by their ids; with --all they are those that match the filter.
Exit code: 0 when it was done with all of them, 1 otherwise.`,
		Example: fmt.Sprintf(`  caddy msa queue %[1]s M8KGPHC0XVXD96SE%[2]s
  caddy msa queue %[1]s --all --user alice@example.org --older 2h%[2]s`, act.name, act.flags),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if (len(ids) > 0) == all {
				return errors.New("name messages by their ids, or use --all, with a filter or without")
			}
			if len(ids) > 0 && f.any() {
				return errors.New("a filter goes with --all, not with ids")
			}
			if act.name == "reroute" && request.Server == "" {
				return errors.New("--to says whose routes take the messages")
			}
			cmd.SilenceUsage = true
			q, err := f.query()
			if err != nil {
				return err
			}
			if err := checkIDs(ids); err != nil {
				return err
			}
			ids = once(ids)
			w := &work{admin: a, action: act, request: request, out: cmd.OutOrStdout(), progress: progressTo(cmd.ErrOrStderr())}
			if all {
				if _, err := each(a, q, "", 0, func(e *adminapi.Entry) error { ids = append(ids, e.ID); return nil }); err != nil {
					return err
				}
			}
			if act.final && !yes {
				if err := confirm(cmd, fmt.Sprintf("To be %s: %s. Type yes to go on: ", strings.TrimPrefix(act.done, "to be "), messages(len(ids)))); err != nil {
					return err
				}
			}
			return w.do(ids)
		},
	}
	f = newFilter(cmd.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "all messages that match the filter")
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why, for the log and the message's history")
	if act.final {
		cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	if act.name == "reroute" {
		cmd.Flags().StringVar(&request.Server, "to", "", "server whose routes take the messages")
	}
	return cmd
}

func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

// anID is what an id may be made of.
var anID = regexp.MustCompile(`^[0-9A-Za-z-]+$`)

// longestID is longer than any.
const longestID = 255

// checkIDs refuses what is not an id, which the admin API would take for a path, and puts those that are in capitals.
func checkIDs(ids []string) error {
	for i, id := range ids {
		ids[i] = adminapi.QueueID(id)
		what := fmt.Sprintf("%q is not an id", id)
		switch {
		case anID.MatchString(id) && len(id) <= longestID:
			continue
		case len(id) > longestID:
			what = fmt.Sprintf("%q... is not an id", id[:20])
		case strings.TrimSpace(id) == "":
			what = "an id is empty"
		}
		return errors.New(what + "; the client was told it at acceptance (queued as ...), and \"caddy msa queue list\" has it")
	}
	return nil
}

// once keeps the first of each.
func once(ids []string) (all []string) {
	seen := make(map[string]bool)
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			all = append(all, id)
		}
	}
	return all
}

func confirm(cmd *cobra.Command, question string) error {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("this cannot be taken back: add --yes")
	}
	fmt.Fprint(cmd.ErrOrStderr(), question)
	answer, err := prompt.Line(in)
	if err != nil {
		return err
	}
	if answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// work is an action on many messages, batch by batch.
type work struct {
	admin    *adminclient.Admin
	action   action
	request  adminapi.QueueAction
	out      io.Writer
	progress func(done, of int)
}

func (w *work) do(ids []string) error {
	done, failed, inFlight := 0, 0, 0
	for chunk := range slices.Chunk(ids, batch) {
		w.request.IDs = chunk
		var answer adminapi.QueueActionAnswer
		if err := w.admin.Post("/msa/queue-actions/"+w.action.name, &w.request, &answer); err != nil {
			return fmt.Errorf("after %d messages: %w", done, err)
		}
		done += len(answer.Done)
		for _, id := range chunk {
			why, ok := answer.Failed[id]
			if !ok && !slices.Contains(answer.Done, id) {
				why, ok = "the server did not say what became of it", true
			}
			if ok {
				failed++
				fmt.Fprintf(w.out, "%s: %s\n", printable(id), printable(why))
			}
		}
		inFlight += len(answer.InFlight)
		w.progress(done+failed, len(ids))
	}
	fmt.Fprintf(w.out, "%s %s\n", messages(done), w.action.done)
	if inFlight > 0 {
		fmt.Fprintf(w.out, "%d of them were being delivered: what succeeds counts, what fails follows\n", inFlight)
	}
	if failed > 0 {
		return fmt.Errorf("it could not be done with %s", messages(failed))
	}
	return nil
}

// progressTo shows how far long work has come, to a person.
func progressTo(w io.Writer) func(done, of int) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func(int, int) {}
	}
	return func(done, of int) {
		if of <= batch {
			return
		}
		fmt.Fprintf(f, "\r%d of %d", done, of)
		if done == of {
			fmt.Fprint(f, "\r\x1b[K")
		}
	}
}
