package cmdqueue

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// historyFlags are the admin API's parameters, and what they mean.
var historyFlags = [][2]string{
	{"id", "only of this message; of a notification also what it was sent for"},
	{"user", "only of this user's messages and refusals"},
	{"sender", "only of messages with this return path; <> for notifications"},
	{"recipient", "only what is about this recipient"},
	{"since", "only from then on: 2026-11-29T08:00:00Z, 2026-11-29 (the server's midnight), or how long ago, such as 2h or 3d"},
	{"until", "only before then"},
	{"hop-id", "only what the next hop took under this queue id of its own"},
	{"error", "only errors and replies that have this in them"},
	{"server", "only of messages that this server accepted"},
	{"spool", "only what is in the journal of this spool"},
	{"before", "continue where an earlier page ended"},
}

// historyQuery are the flags of what is wanted.
type historyQuery struct {
	address string
	states  []string
	limit   int
	all     bool
	json    bool
}

func historyCommand() *cobra.Command {
	a, h := new(adminclient.Admin), new(historyQuery)
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Tells what became of messages, those that were delivered or refused included",
		Long: `Lists what happened to messages, the latest first: accepted, each attempt and the reply to it,
delivered, failed, expired, bounced, held and released by whom, refused. It comes from the
journal, which the server keeps for as long as its configuration says (journal { keep }, 7d
by default). What meets all conditions is listed. Addresses and names must match as a whole, in
upper or lower case.
Subjects and texts of messages are not in it. "caddy msa trace <id>" tells one message's story.

--address is a mail address here, of the sender or a recipient, and the admin API's is --admin;
what has no @ is taken for the latter, as in the other commands. With --json each line is
a fact as JSON.`,
		Example: `  caddy msa history --recipient bob@example.net --since 2d
  caddy msa history --state failed,expired --since 1d --all
  caddy msa history --hop-id 4XyZ1k2M3nz9`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := h.values(cmd)
			if err != nil {
				return err
			}
			cmd.SilenceUsage = true
			t := newFactTable(cmd.OutOrStdout())
			if h.json {
				enc := json.NewEncoder(terminal.Writer(cmd.OutOrStdout()))
				next, err := eachFact(a, q, h.most(), func(p *adminapi.HistoryPage) error {
					for i := range p.Facts {
						if err := enc.Encode(&p.Facts[i]); err != nil {
							return err
						}
					}
					return nil
				})
				if err == nil && next != "" {
					fmt.Fprintf(cmd.ErrOrStderr(), "There may be more: --before %s, or --all.\n", terminal.Line(next))
				}
				return err
			}
			next, err := eachFact(a, q, h.most(), t.page)
			if err != nil {
				return err
			}
			if t.facts == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), printable("Nothing of this is in the journal. "+whyNothing(a)))
			}
			if next != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "There may be more: --before %s, or --all.\n", printable(next))
			}
			return nil
		},
	}
	f := cmd.Flags()
	for _, flag := range historyFlags {
		f.String(flag[0], "", flag[1])
	}
	f.StringSliceVar(&h.states, "state", nil, "only these, such as failed,expired: "+kinds())
	f.IntVar(&h.limit, "limit", 100, "how many to list at most")
	f.BoolVar(&h.all, "all", false, "list all")
	f.BoolVar(&h.json, "json", false, "print a JSON object a line")
	a.FlagsBeside(f, &h.address, "only what has this mail address as sender or recipient")
	return cmd
}

func kinds() string {
	names := make([]string, len(journal.Kinds))
	for i, k := range journal.Kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// values is the query as the admin API takes it. A flag with an empty value goes along: the server says what is wrong.
func (h *historyQuery) values(cmd *cobra.Command) (url.Values, error) {
	q := make(url.Values)
	for _, flag := range historyFlags {
		if f := cmd.Flags().Lookup(flag[0]); f.Changed {
			q.Set(strings.ReplaceAll(flag[0], "-", "_"), f.Value.String())
		}
	}
	for _, name := range []string{"since", "until"} {
		if value := q.Get(name); value != "" {
			if _, err := adminapi.ParseMoment(value, time.Now()); err != nil {
				return nil, fmt.Errorf("--%s: %w", name, err)
			}
		}
	}
	for _, state := range h.states {
		if state = strings.ToLower(strings.TrimSpace(state)); state != "" && !strings.Contains(state, " ") && !slices.Contains(journal.Kinds, journal.Kind(state)) {
			return nil, fmt.Errorf("--state: %q is not a state; there are %s", state, kinds())
		}
	}
	if cmd.Flags().Changed("state") {
		q["state"] = append([]string{}, strings.Join(h.states, ","))
	}
	if h.address != "" {
		q.Set("address", h.address)
	}
	switch {
	case h.limit < 1:
		return nil, errors.New("--limit is how many to list; --all lists all")
	case h.all && cmd.Flags().Changed("limit"):
		return nil, errors.New("--all goes without --limit")
	}
	return q, nil
}

// most is how many are listed; 0 for all.
func (h *historyQuery) most() int {
	if h.all {
		return 0
	}
	return h.limit
}

// factsAtOnce is the most that the admin API answers.
const factsAtOnce = 1000

// eachFact calls f for each page of facts, up to so many of them (0: all), and returns where to go on when there are more.
func eachFact(a *adminclient.Admin, q url.Values, most int, f func(*adminapi.HistoryPage) error) (next string, err error) {
	for n := 0; ; {
		limit := factsAtOnce
		if most > 0 {
			limit = min(limit, most-n)
		}
		q.Set("limit", strconv.Itoa(limit))
		page := new(adminapi.HistoryPage)
		if err := a.Get("/msa/history?"+q.Encode(), page); err != nil {
			return "", err
		}
		if err := f(page); err != nil {
			return "", err
		}
		if n += len(page.Facts); page.Next == "" || most > 0 && n >= most {
			return page.Next, nil
		}
		q.Set("before", page.Next)
	}
}
