package cmduser

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func quotaCommand() *cobra.Command {
	var a adminclient.Admin
	var server, ip string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "quota <user>",
		Short: "Says how much a user may still submit",
		Long: `Asks the running server how much its policies rate_limit, recipients and size allow a user, and how
much of that is left: limits that nodes share by Redis or the spool are counted over all nodes,
others on this node alone. Policies that are for other users are left out.`,
		Example: "  caddy msa quota alice@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			if err := named(args[0]); err != nil {
				return err
			}
			q := url.Values{}
			if server != "" {
				q.Set("server", server)
			}
			if ip != "" {
				q.Set("ip", ip)
			}
			path := "/msa/quota/" + url.PathEscape(args[0])
			if len(q) > 0 {
				path += "?" + q.Encode()
			}
			var answer []adminapi.UserQuota
			if err := a.Get(path, &answer); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(terminal.Writer(cmd.OutOrStdout())).Encode(answer)
			}
			return showQuota(cmd.OutOrStdout(), answer, time.Now())
		},
	}
	a.Flags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&server, "server", "", "server, by its name in the configuration (default: all)")
	cmd.Flags().StringVar(&ip, "ip", "", "address that the client comes from, for limits by network and users who may come from some alone")
	return cmd
}

func showQuota(w io.Writer, all []adminapi.UserQuota, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SERVER\tPOLICY\tWHAT\tPER\tALLOWED\tLEFT\tALL BACK IN\tOF")
	limits := 0
	var problems []string
	for _, u := range all {
		for _, l := range u.Limits {
			limits++
			allowed, left := amount(l.What, l.Allowed), amount(l.What, l.Left)
			switch {
			case l.Problem != "":
				left = "?"
				problems = append(problems, terminal.Line(l.Policy+": "+l.What+" per "+l.Per+": "+l.Problem))
			case l.Unlimited:
				allowed, left = "unlimited", "unlimited"
			}
			back := "-"
			if !l.Back.IsZero() {
				back = max(0, l.Back.Sub(now)).Round(time.Second).String()
			}
			of := []string{l.By}
			if l.By == "" {
				of = []string{u.User}
			}
			if l.Sometimes {
				of = append(of, "(some messages)")
			}
			if l.LogOnly {
				of = append(of, "(log only)")
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", terminal.Line(u.Server), terminal.Line(l.Policy), terminal.Line(l.What), terminal.Line(l.Per), allowed, left, back, terminal.Line(strings.Join(of, " ")))
		}
		if u.Note != "" {
			problems = append(problems, terminal.Line(u.Server+": "+u.Note))
		}
	}
	if limits == 0 {
		fmt.Fprintln(w, "no policy limits how much the user may submit")
		return nil
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
	return nil
}

func amount(what string, n int64) string {
	if what == "bytes" {
		return humanize.IBytes(uint64(max(0, n)))
	}
	return strconv.FormatInt(n, 10)
}
