package cmdqueue

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func showCommand(a *adminclient.Admin) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show <id>",
		Short:   "Shows a message's envelope, what became of it so far and when it is tried again",
		Example: "  caddy msa queue show M8KGPHC0XVXD96SE",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			if err := checkIDs(args); err != nil {
				return err
			}
			e, err := entry(a, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(terminal.Writer(cmd.OutOrStdout()))
				enc.SetIndent("", "  ")
				return enc.Encode(e)
			}
			show(cmd.OutOrStdout(), e)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the envelope as JSON")
	return cmd
}

// entry asks for a message in the queue.
func entry(a *adminclient.Admin, id string) (*adminapi.Entry, error) {
	e := new(adminapi.Entry)
	if err := a.Get("/msa/queue/"+url.PathEscape(id), e); err != nil {
		return nil, err
	}
	if e.ID != id {
		return nil, fmt.Errorf("the answer cannot be read: it is not about %s, but about %q; does --address name Caddy's admin API?", id, e.ID)
	}
	return e, nil
}

// printed are lines of a name and a value.
type printed struct {
	w  io.Writer
	st style
}

// line prints a value, and nothing where there is none.
func (p printed) line(name, value string) {
	if value != "" {
		fmt.Fprintf(p.w, "%s %s\n", p.st.plain(dim, fmt.Sprintf("%-11s", name)), printable(value))
	}
}

// show prints what there is, and no line for what there is not.
func show(w io.Writer, e *adminapi.Entry) {
	p := printed{w, styleFor(w)}
	fmt.Fprintf(w, "%s  %s\n", p.st.plain(bold, printable(e.ID)), e.State)
	p.line("accepted", stamp(e.Accepted)+" ("+age(time.Since(e.Accepted))+" ago) by "+e.Server)
	p.submission(e.User, e.Sender, &journal.Submission{Size: e.Size, Body: e.Body, EnvelopeID: e.EnvelopeID, Priority: e.Priority, RemoteIP: e.RemoteIP, Helo: e.Helo,
		ClientTLS: e.TLS, Mechanism: e.Mechanism, AppPassword: e.AppPassword, Session: e.Session})
	p.waiting(e)
	for _, v := range e.History {
		fmt.Fprintln(w, historyLine(p.st, v, e))
	}
}

// submission prints how a message came in.
func (p printed) submission(user, sender string, s *journal.Submission) {
	p.line("user", strings.TrimSpace(user+"  "+s.Mechanism))
	p.line("app password", s.AppPassword)
	p.line("client", strings.TrimSpace(s.RemoteIP+"  "+s.Helo+"  "+s.ClientTLS))
	p.line("session", s.Session)
	p.line("sender", bracket(sender))
	p.line("size", strings.TrimSpace(humanize.IBytes(uint64(max(0, s.Size)))+"  "+s.Body))
	p.line("envelope id", s.EnvelopeID)
	if s.Priority != 0 {
		p.line("priority", fmt.Sprint(s.Priority))
	}
}

// waiting prints what is in the queue of a message, and for what that waits.
func (p printed) waiting(e *adminapi.Entry) {
	p.line("rerouted", e.Rerouted)
	p.line("held", e.Held)
	p.line("given up", e.GivenUp)
	switch {
	case !e.Dead.IsZero():
		p.line("kept until", stamp(e.Dead))
	case e.Held == "" && !e.Next.IsZero(): // else all of it is under way
		p.line("next", stamp(e.Next)+", after "+attempts(e.Attempts))
	}
	for _, r := range e.Recipients {
		state := string(r.State)
		if r.State == queue.Pending {
			state = "pending"
		}
		var more []string
		if r.Error != "" {
			more = append(more, r.Error)
		}
		if r.RemoteMTA != "" {
			more = append(more, "said "+r.RemoteMTA)
		}
		if r.Lane != "" {
			more = append(more, "lane "+r.Lane)
		}
		p.line("recipient", strings.TrimSpace(r.Address+"  "+state+"  "+strings.Join(more, ", ")))
	}
	for _, c := range e.Copies {
		state := "pending"
		if c.State != queue.Pending {
			state = string(c.State)
		}
		p.line("copy", strings.Join(slices.DeleteFunc([]string{c.Name, state, c.Error, "lane " + c.Lane}, func(s string) bool { return s == "" || s == "lane " }), "  "))
	}
	for _, j := range e.Jobs {
		var to queue.Indexes
		_ = to.UnmarshalText([]byte(j.To)) // of another version's server, perhaps: then nobody is named
		what := addresses(to, e)
		if j.Copy != "" {
			what = "copy " + j.Copy
		}
		p.line("waits", fmt.Sprintf("%s: %s, due %s, %s", what, j.Why, stamp(j.Due), attempts(j.Attempts)))
	}
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// addresses are those of an event's recipients, or how many they are.
func addresses(to queue.Indexes, e *adminapi.Entry) string {
	var all []string
	for _, i := range to {
		if i < len(e.Recipients) {
			all = append(all, e.Recipients[i].Address)
		}
	}
	if len(all) > 3 {
		return fmt.Sprintf("%s and %d more", all[0], len(all)-1)
	}
	return strings.Join(all, " ")
}

// addressesOf are those of whom an event tells something: what becomes of a copy is not what becomes of them.
func addressesOf(v queue.Event, e *adminapi.Entry) string {
	if v.Copy != "" {
		return ""
	}
	return addresses(v.To, e)
}

func historyLine(st style, v queue.Event, e *adminapi.Entry) string {
	words := []string{v.What}
	if v.Copy != "" {
		words = []string{"copy " + v.Copy + " " + v.What}
	}
	for _, w := range []string{v.Route, addressesOf(v, e), v.Notification, v.Text, v.RemoteMTA, v.Host, v.Address, v.TLS, v.Answer.ID} {
		if w != "" {
			words = append(words, printable(w))
		}
	}
	return st.plain(dim, stamp(v.Time)) + " " + strings.Join(slices.Compact(words), "  ")
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}
