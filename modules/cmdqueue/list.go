package cmdqueue

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func listCommand(a *adminclient.Admin) *cobra.Command {
	var (
		f      filter
		asJSON bool
		limit  int
		after  string
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the messages that are to be delivered",
		Long: `Lists messages in the order in which they were accepted, with what became of them so
far. What was delivered is not in the queue any more; see "caddy msa trace". With --json
each line is a message's envelope as JSON.`,
		Example: `  caddy msa queue list --state held
  caddy msa queue list --lane relay/smtp.example.net:587 --older 2h --limit 0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			if limit < 0 {
				return errors.New("--limit is how many messages to list; 0 for all")
			}
			q, err := f.query()
			if err != nil {
				return err
			}
			p := newPrinter(cmd.OutOrStdout(), asJSON)
			next, err := each(a, q, after, limit, p.entry)
			if err != nil {
				return err
			}
			return p.end(next)
		},
	}
	f = newFilter(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
	cmd.Flags().IntVar(&limit, "limit", 100, "how many messages to list at most; 0 for all")
	cmd.Flags().StringVar(&after, "after", "", "begin after this id")
	return cmd
}

// each calls f for the messages that the filter lets through, page by page, and returns where to
// go on when there are more than the limit.
func each(a *adminclient.Admin, q url.Values, after string, limit int, f func(*adminapi.Entry) error) (next string, err error) {
	for n := 0; ; {
		if q.Set("after", after); limit > 0 {
			q.Set("limit", strconv.Itoa(min(limit-n, 1000)))
		} else {
			q.Set("limit", "1000")
		}
		var page adminapi.QueuePage
		if err := a.Get("/msa/queue?"+q.Encode(), &page); err != nil {
			return "", err
		}
		for _, e := range page.Entries {
			if err := f(e); err != nil {
				return "", err
			}
		}
		n += len(page.Entries)
		if page.Next == "" || limit > 0 && n >= limit {
			return page.Next, nil
		}
		after = page.Next
	}
}

// printer writes a list.
type printer struct {
	w       io.Writer
	style   style
	json    *json.Encoder
	table   *tabwriter.Writer
	entries int
	now     time.Time
}

func newPrinter(w io.Writer, asJSON bool) *printer {
	p := &printer{w: w, style: styleFor(w), now: time.Now()}
	if asJSON {
		p.json = json.NewEncoder(terminal.Writer(w))
		return p
	}
	p.table = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.StripEscape)
	return p
}

func (p *printer) entry(e *adminapi.Entry) error {
	if p.entries++; p.json != nil {
		return p.json.Encode(e)
	}
	if p.entries == 1 {
		fmt.Fprintln(p.table, "ID\tAGE\tSIZE\tSTATE\tTRIED\tNEXT\tSENDER\tRECIPIENTS\tWHY")
	}
	next := "-"
	if e.Held == "" && !e.Next.IsZero() {
		next = p.until(e.Next)
	}
	_, err := fmt.Fprintf(p.table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", printable(e.ID), age(p.now.Sub(e.Accepted)), humanize.IBytes(uint64(max(0, e.Size))),
		p.style.state(e.State), e.Attempts, next, bracket(e.Sender), recipients(e), clip(waitsFor(e), 160))
	return err
}

func (p *printer) end(next string) error {
	if p.json != nil {
		return nil
	}
	if err := p.table.Flush(); err != nil {
		return err
	}
	if p.entries == 0 {
		fmt.Fprintln(p.w, "no messages")
	}
	if next != "" {
		fmt.Fprintf(p.w, "There may be more: --after %s, or --limit 0 for all.\n", next)
	}
	return nil
}

// until is how far away a time is.
func (p *printer) until(at time.Time) string {
	if d := at.Sub(p.now); d > 0 {
		return "in " + age(d)
	}
	return "now"
}

// age is a duration in its two largest units.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(max(0, d).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

func bracket(sender string) string {
	if sender == "" {
		return "<>"
	}
	return printable(sender)
}

// recipients are those that are still to come, or how many they are.
func recipients(e *adminapi.Entry) string {
	var open []string
	for _, r := range e.Recipients {
		if r.State == queue.Pending || !e.Dead.IsZero() && r.State == queue.Failed {
			open = append(open, printable(r.Address))
		}
	}
	if len(open) > 2 {
		return fmt.Sprintf("%s and %d more", open[0], len(open)-1)
	}
	if len(open) == 0 {
		open = copies(e)
	}
	return strings.Join(open, " ")
}

// copies are those that are still to come, where no recipient is.
func copies(e *adminapi.Entry) (open []string) {
	for _, c := range e.Copies {
		if name := "copy " + printable(c.Name); (c.State == queue.Pending || !e.Dead.IsZero() && c.State == queue.Failed) && !slices.Contains(open, name) {
			open = append(open, name)
		}
	}
	return open
}

// waitsFor is why the message is still here: the last error, and for what its jobs wait.
func waitsFor(e *adminapi.Entry) string {
	if e.Held != "" {
		return printable(e.Held)
	}
	var words []string
	for _, r := range e.Recipients {
		if r.Error != "" && r.State != queue.Delivered {
			words = append(words, r.Error)
			break
		}
	}
	for _, c := range e.Copies {
		if c.Error != "" && c.State != queue.Delivered && !slices.Contains(words, c.Error) {
			words = append(words, c.Error)
			break
		}
	}
	for i := range e.Jobs {
		if w := e.Jobs[i].Why; !slices.Contains(words, w) && len(words) < 3 {
			words = append(words, w)
		}
	}
	return printable(strings.Join(words, "; "))
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
