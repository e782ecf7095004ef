package spoolfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func salvageCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "salvage <directory> [--to <directory>]",
		Short: "Recovers what can be read of a damaged spool",
		Long: `Recovers what can be read of a damaged spool, which no server may have open meanwhile. Messages that
are whole go back into the spool and are delivered when the server starts. Of the others
it says what is left; with --to that is written to a directory: <queue id>.eml with the
message, and <queue id>.json with its envelope, what is damaged and whether the message is
altered. Nothing is deleted: remove damaged/ in the spool when you have what you need.

Exit code: 0 if all messages are whole, 1 if some are not, or on an error.`,
		Example: `  caddy msa spool salvage /var/spool/caddy-msa --to /root/salvaged`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			return salvageDirectory(cmd, args[0], to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "directory for what is left of messages that are not whole")
	return cmd
}

func salvageDirectory(cmd *cobra.Command, dir, to string) error {
	if err := isSpool(dir); err != nil {
		return err
	}
	s, err := Open(dir, Options{Log: zap.NewNop(), Retry: time.Millisecond})
	if err != nil {
		var used *inUseError
		if errors.As(err, &used) {
			return fmt.Errorf("%s is %w; stop the server first", dir, used)
		}
		return err
	}
	defer s.Close()
	if to != "" {
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
	}
	r := &salvageReport{out: cmd.OutOrStdout(), to: to}
	if err := s.salvage(cmd.Context(), r.found); err != nil {
		return err
	}
	all, _, err := s.Size(cmd.Context())
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%d messages in the spool; %d damaged: %d with envelope and octets, %d in part, %d of which nothing is left\n", all, r.damaged, r.both, r.damaged-r.both-r.nothing, r.nothing)
	if r.damaged > 0 {
		return errNotRecovered
	}
	return nil
}

// isSpool tells whether a directory is a spool.
func isSpool(dir string) error {
	for _, name := range []string{"store", newStore, asideDir} {
		_, err := os.Stat(filepath.Join(dir, name))
		if err == nil {
			return nil
		}
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("this user may not read the spool: %w; run the command as the user that Caddy runs as", err)
		}
	}
	return fmt.Errorf("%s is not a spool: there is no store in it", dir)
}

// salvageReport prints, and writes, what is left of damaged messages.
type salvageReport struct {
	out                    io.Writer
	to                     string
	damaged, both, nothing int
}

// salvagedEnvelope is what is written beside a message.
type salvagedEnvelope struct {
	ID      string       `json:"id"`
	Problem string       `json:"problem"`
	Altered bool         `json:"altered"` // octets of the message are not what they were
	Entry   *queue.Entry `json:"entry,omitempty"`
}

func (r *salvageReport) found(x *salvaged) error {
	r.damaged++
	var left []string
	if x.entry != nil {
		left = append(left, "its envelope")
	}
	switch {
	case x.cut:
		left = append(left, "the header that this server added")
	case x.octets != nil && x.altered:
		left = append(left, "its octets, not all as they were")
	case x.octets != nil:
		left = append(left, "its octets")
	}
	switch {
	case x.entry != nil && x.octets != nil && !x.cut:
		r.both++
	case len(left) == 0:
		r.nothing++
		left = []string{"nothing"}
	}
	fmt.Fprintf(r.out, "%s: %q\n\tleft: %s\n", x.id, x.problem, strings.Join(left, ", "))
	if x.entry != nil {
		fmt.Fprintf(r.out, "\tfrom %q to %q\n", x.entry.Sender, addresses(x.entry))
	}
	if r.to == "" || x.entry == nil && x.octets == nil {
		return nil
	}
	return r.write(x)
}

func addresses(e *queue.Entry) []string {
	all := make([]string, len(e.Recipients))
	for i := range e.Recipients {
		all[i] = e.Recipients[i].Address
	}
	return all
}

// write writes what is left of a message to files of its own. An id becomes a file's name only if it is one.
func (r *salvageReport) write(x *salvaged) error {
	name := x.id
	if !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) {
		name = fmt.Sprintf("message-%d", r.damaged)
	}
	name = filepath.Join(r.to, name)
	if x.octets != nil {
		if err := os.WriteFile(name+".eml", x.octets, 0o600); err != nil {
			return err
		}
		fmt.Fprintf(r.out, "\twritten: %s.eml\n", name)
	}
	b, err := json.MarshalIndent(&salvagedEnvelope{x.id, x.problem, x.altered, x.entry}, "", "\t")
	if err == nil {
		err = os.WriteFile(name+".json", b, 0o600)
	}
	if err == nil {
		fmt.Fprintf(r.out, "\twritten: %s.json\n", name)
	}
	return err
}
