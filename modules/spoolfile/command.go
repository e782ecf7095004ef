package spoolfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/term"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) {
		caddymsa.CommandGroup(msa, "spool", "Checks, moves and salvages spools").AddCommand(spoolCommand().Commands()...)
	})
}

func spoolCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "spool", Short: "Checks, moves and salvages spools"}
	a := new(adminclient.Admin)
	check := &cobra.Command{
		Use:   "check [<directory>]",
		Short: "Reads every message of the spool, and says which are not whole",
		Long: `Reads every envelope and every octet of every message that waits to be delivered. Without
a directory the running server does it, without interrupting its work, for the spools of
former configurations too; with one, a spool that no server uses is read.

Exit code: 0 when all messages are whole; 1 if one is not, or damage was set aside. "caddy msa
spool salvage" gets what is left of a damaged message, "caddy msa queue delete" takes it away.`,
		Example: `  caddy msa spool check
  caddy msa spool check /var/spool/caddy-msa`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			report := &checkReport{out: cmd.OutOrStdout(), progress: io.Discard}
			if f, ok := cmd.ErrOrStderr().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
				report.progress = f
			}
			var err error
			if len(args) == 1 {
				err = checkDirectory(cmd, args[0], report)
			} else {
				err = checkServer(a, report)
			}
			switch {
			case err != nil:
			case report.broken > 0:
				err = fmt.Errorf("%d messages are not whole", report.broken)
			case report.aside > 0:
				err = errors.New("damage was set aside")
			}
			return err
		},
	}
	a.Flags(check.Flags())
	cmd.AddCommand(check, salvageCommand())
	return cmd
}

// checkReport prints findings, and how far it is.
type checkReport struct {
	out, progress io.Writer
	broken, aside int
	spool         string // that a former configuration left and that is read now; "" is the one in use
	brokenThere   int
}

// of says whose lines follow.
func (r *checkReport) of(spool string) {
	if r.spool != spool {
		r.spool, r.brokenThere = spool, 0
	}
}

func (r *checkReport) read(messages int) {
	fmt.Fprintf(r.progress, "\r%d messages read ", messages)
}

func (r *checkReport) found(id, problem string) {
	if strings.HasPrefix(id, asideDir+"/") {
		r.aside++
	} else {
		r.broken++
		r.brokenThere++
	}
	fmt.Fprintf(r.progress, "\r")
	fmt.Fprintf(r.out, "%s: %q\n", id, problem)
}

func (r *checkReport) end(messages int, octets int64) {
	fmt.Fprintf(r.progress, "\r")
	fmt.Fprintf(r.out, "%d messages of %s, %d not whole", messages, humanize.IBytes(uint64(octets)), r.brokenThere)
	if r.spool != "" {
		fmt.Fprintf(r.out, ", in the former configuration's spool %q", r.spool)
	}
	fmt.Fprintln(r.out)
}

func checkDirectory(cmd *cobra.Command, dir string, r *checkReport) error {
	if err := isSpool(dir); err != nil {
		return err
	}
	s, err := Open(dir, Options{Log: zap.NewNop(), Retry: time.Millisecond})
	if err != nil {
		var used *inUseError
		if errors.As(err, &used) {
			return fmt.Errorf("%s is %w; without a directory, the running server is asked: caddy msa spool check", dir, used)
		}
		return err
	}
	defer s.Close()
	messages, octets, err := s.Check(cmd.Context(), r.read, r.found)
	if err != nil {
		return err
	}
	r.end(messages, octets)
	return nil
}

func checkServer(a *adminclient.Admin, r *checkReport) error {
	answer, err := a.Open("/msa/spool/check")
	if err != nil {
		return err
	}
	defer answer.Close()
	var failed []error
	whole := false // the lines of a spool have come to their end
	for lines := json.NewDecoder(answer); ; {
		var line adminapi.SpoolCheck
		err := lines.Decode(&line)
		if err == io.EOF && whole {
			return errors.Join(failed...)
		}
		if err != nil {
			return fmt.Errorf("the answer broke off: %w", err)
		}
		whole = line.Done || line.Error != ""
		r.of(line.Spool)
		switch {
		case line.Error != "":
			if line.Spool != "" {
				line.Error = fmt.Sprintf("%q: %s", line.Spool, line.Error)
			}
			failed = append(failed, errors.New(line.Error))
		case line.Done:
			r.end(line.Messages, line.Octets)
		case line.ID != "":
			r.found(line.ID, line.Problem)
		default:
			r.read(line.Messages)
		}
	}
}
