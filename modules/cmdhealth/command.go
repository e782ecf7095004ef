// Package cmdhealth is `caddy msa health`: whether the running server can accept messages, for health checks.
package cmdhealth

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) { msa.AddCommand(newCommand()) })
}

func newCommand() *cobra.Command {
	a := new(adminclient.Admin)
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Says whether the running server can accept messages",
		Long: `Says whether the running server can accept messages: the spool takes them, and each server
has a certificate that is valid now. It is for health checks that run a command, such as those of
containers; others can ask the admin API, GET /msa/health.

Exit code: 0 when messages can be accepted, 1 otherwise, with the reasons; that there is no
answer within --timeout is one.`,
		Example: `  caddy msa health
  caddy msa health --config /etc/caddy-msa/Caddyfile`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			if timeout <= 0 {
				return fmt.Errorf("--timeout is a duration such as 10s, not %s", timeout)
			}
			var h adminapi.Health
			err := a.GetWithin(timeout, "/msa/health", &h)
			if adminclient.IsRefused(err, http.StatusServiceUnavailable) {
				return fmt.Errorf("messages cannot be accepted: %w", err)
			}
			if err != nil {
				return err
			}
			if !h.Ready {
				return errors.New("messages cannot be accepted: the server does not say why")
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "ready")
			return err
		},
	}
	a.Flags(cmd.Flags())
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for the answer, which the server has within 4s")
	return cmd
}
