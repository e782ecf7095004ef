// Package cmdspool is `caddy msa spool move`: it takes messages from one spool to another, of whatever kind they are.
package cmdspool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/term"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/spoolname"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) {
		caddymsa.CommandGroup(msa, "spool", "Checks, moves and salvages spools").AddCommand(moveCommand())
	})
}

func moveCommand() *cobra.Command {
	a := new(adminclient.Admin)
	cancel := false
	cmd := &cobra.Command{
		Use:   "move <from> <to>",
		Short: "Takes all messages from one spool to another",
		Long: `Takes every message of a spool to another, with all that is known of it: envelope, octets,
attempts, history, what is held and what was given up. A spool is named by its kind and what comes
first after it in a Caddyfile: file:/var/spool/caddy-msa, or
'postgres://msa@db.example.org/msa?sslmode=verify-full'. One that needs further settings is named with
them, as in a Caddyfile and in quotes: its kind, that, and a block of settings, a line each. Environment
variables and files can be named as there: 'postgres:{env.MSA_SPOOL}'.

A spool that a running server has open is moved by that server, through its admin API, while it
goes on; otherwise this command does it. A message that is being delivered is moved when the attempt has
ended. If a move is broken off, even by a crash, the same command continues where it was: no
message is lost and none is delivered twice. Until then a message that is on its way is held in both
spools; --cancel has each stay where it is.

Exit code: 0 when all were moved; 1 if a message was not: it stays, and is delivered from there.`,
		Example: `  caddy msa spool move file:/var/spool/caddy-msa 'postgres://msa@db.example.org/msa?sslmode=verify-full'
  caddy msa spool move file:/var/spool/caddy-msa "$(cat spool.txt)"`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			r := &report{out: cmd.OutOrStdout(), progress: io.Discard}
			if f, ok := cmd.ErrOrStderr().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
				r.progress = f
			}
			err := moveHere(cmd.Context(), args[0], args[1], cancel, r)
			if errors.Is(err, queue.ErrInUse) {
				err = moveThere(a, &adminapi.SpoolMove{From: args[0], To: args[1], Cancel: cancel}, r)
			}
			if err != nil && r.moved == 0 { // nothing has begun, as far as is known
				return err
			}
			if err != nil {
				return fmt.Errorf("%w; %d messages were moved, and the same command goes on with the others", err, r.moved)
			}
			fmt.Fprint(r.progress, "\r")
			if cancel {
				fmt.Fprintln(r.out, "The move has ended; each message is in one spool")
				return nil
			}
			fmt.Fprintf(r.out, "%d messages moved\n", r.moved)
			if r.note != "" {
				fmt.Fprintln(r.out, terminal.Line(r.note))
			}
			if r.failed > 0 {
				return fmt.Errorf("%d messages were not moved", r.failed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&cancel, "cancel", false, "end a move that was broken off: each message stays where it is now")
	a.Flags(cmd.Flags())
	return cmd
}

// report prints what cannot be moved, and how far it is.
type report struct {
	out, progress io.Writer
	moved, failed int
	note          string
}

func (r *report) add(id, problem string) {
	fmt.Fprint(r.progress, "\r")
	r.failed++
	fmt.Fprintf(r.out, "%s: %q\n", id, problem)
}

func (r *report) count(moved int) {
	r.moved = moved
	fmt.Fprintf(r.progress, "\r%d messages moved ", moved)
}

// moveHere opens both spools in this process.
func moveHere(parent context.Context, from, to string, cancel bool, r *report) error {
	if parent == nil {
		parent = context.Background()
	}
	ctx, end := caddy.NewContext(caddy.Context{Context: parent})
	defer end()
	old, leave, err := place(ctx, from, spoolname.Find)
	if err != nil {
		return err
	}
	defer leave()
	young, leave, err := place(ctx, to, func(caddymsa.SpoolModule) error { return nil })
	if err != nil {
		return err
	}
	defer leave()
	move := queue.Move
	if cancel {
		move = queue.CancelMove
	}
	return move(ctx, old, young, func(id string, err error) {
		if err != nil {
			r.add(id, err.Error())
			return
		}
		r.count(r.moved + 1)
	})
}

func place(ctx caddy.Context, name string, find func(caddymsa.SpoolModule) error) (queue.Place, func(), error) {
	module, err := spoolname.Load(ctx, name)
	if err != nil {
		return queue.Place{}, nil, err
	}
	if err := find(module); err != nil {
		return queue.Place{}, nil, err
	}
	spool, err := module.Open(ctx, zap.NewNop())
	if err != nil {
		return queue.Place{}, nil, err
	}
	return queue.Place{Name: module.Key(), Spool: spool}, func() { _ = spool.Close() }, nil
}

// moveThere asks the running server.
func moveThere(a *adminclient.Admin, request *adminapi.SpoolMove, r *report) error {
	answer, err := a.OpenPost("/msa/spool/move", request)
	if err != nil {
		return err
	}
	defer answer.Close()
	for lines := json.NewDecoder(answer); ; {
		var line adminapi.SpoolMoved
		if err := lines.Decode(&line); err != nil {
			return fmt.Errorf("the answer broke off: %w", err)
		}
		r.count(line.Messages)
		switch {
		case line.Error != "":
			return errors.New(line.Error)
		case line.Done:
			r.note = line.Note
			return nil
		case line.ID != "":
			r.add(line.ID, line.Problem)
		}
	}
}
