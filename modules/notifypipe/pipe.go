// Package notifypipe tells a command what became of messages.
package notifypipe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/program"
)

func init() {
	caddy.RegisterModule(new(Pipe))
}

// Pipe runs a command for each event, without a shell: the event is on its standard input, as a line of JSON. What clients said is
// never among its arguments. The environment is PATH and LANG of the server, Env, and MSA_EVENT_ID (the same in every attempt at an
// event), MSA_EVENT_TYPE and MSA_QUEUE_ID.
//
// Exit code 0 says that the command has it. 65 (EX_DATAERR) refuses that event: it is tried again, and others meanwhile. After
// every other end, a signal and a command that is not there among them, all wait and are tried again. What the command leaves
// behind is killed when it has ended.
type Pipe struct {
	program.Config

	program *program.Program
}

// CaddyModule returns the Caddy module information.
func (*Pipe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.notifiers.pipe", New: func() caddy.Module { return new(Pipe) }}
}

// Provision finds the command and sets the defaults.
func (p *Pipe) Provision(caddy.Context) (err error) {
	if len(p.Command) == 0 || p.Command[0] == "" {
		return errors.New("pipe: a command is required, as in: notify pipe /usr/local/bin/take-status")
	}
	if p.program, err = p.Config.Open(); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	return nil
}

// Receiver implements caddymsa.Notifier.
func (p *Pipe) Receiver() (key, label string) {
	return p.program.Key(), filepath.Base(p.program.Path())
}

// refused is the exit code of sysexits.h that is about the event.
const refused = 65

// Notify implements caddymsa.Notifier.
func (p *Pipe) Notify(ctx context.Context, e *notify.Event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	said, err := p.program.Run(ctx, []string{"MSA_EVENT_ID=" + e.ID, "MSA_EVENT_TYPE=" + e.Type(), "MSA_QUEUE_ID=" + e.Fact.ID}, bytes.NewReader(append(text, '\n')))
	if err == nil {
		return nil
	}
	if errors.Is(err, program.ErrStart) {
		return &notify.UnreachableError{Cause: err}
	}
	err = fmt.Errorf("%s: %w: %s", p.program.Path(), err, caddymsa.ReplyLine(said))
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == refused {
		return &notify.RefusedError{Cause: err}
	}
	return err
}

// UnmarshalCaddyfile sets up the notifier from Caddyfile tokens. Syntax:
//
//	pipe <command> [<arguments...>] {
//		dir        <path>
//		env        <name> <value>
//		timeout    <duration>
//		max_output <octets>
//	}
func (p *Pipe) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the notifier's name
	if p.Command = d.RemainingArgs(); len(p.Command) == 0 {
		return d.Err("pipe takes a command, as in: notify pipe /usr/local/bin/take-status")
	}
	return conf.Block(d, p.Config.Settings()...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Pipe)(nil)
	_ caddymsa.Notifier     = (*Pipe)(nil)
	_ caddyfile.Unmarshaler = (*Pipe)(nil)
)
