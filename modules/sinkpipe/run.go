package sinkpipe

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/program"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Deliver runs the command.
func (s *Pipe) Deliver(ctx context.Context, d *queue.Delivery) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m, err := d.Open()
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	defer m.Close()
	env, err := newEnvironment(envelope.Of(d))
	if err != nil {
		return err
	}
	defer env.remove()
	if err := d.Final(); err != nil { // what a command has done cannot be taken back
		return err
	}
	said, err := s.program.Run(ctx, env.variables(), m)
	if errors.Is(err, program.ErrTooBig) && env.file != "" { // a system with narrower bounds than ours
		env.inFile = true
		said, err = s.program.Run(ctx, env.variables(), m)
	}
	return s.outcome(err, said)
}

// final are the exit codes of sysexits.h that no retry can mend.
var final = map[int]struct {
	status smtp.EnhancedCode
	text   string
}{
	65: {smtp.EnhancedCode{5, 6, 0}, "Message data refused"},
	67: {smtp.EnhancedCode{5, 1, 1}, "Unknown user"},
	68: {smtp.EnhancedCode{5, 1, 2}, "Unknown host"},
	69: {smtp.EnhancedCode{5, 3, 0}, "Service unavailable"},
	73: {smtp.EnhancedCode{5, 2, 0}, "Cannot create output"},
	76: {smtp.EnhancedCode{5, 5, 0}, "Protocol error"},
	77: {smtp.EnhancedCode{5, 7, 1}, "Permission denied"},
}

// outcome is what the command's end means.
func (s *Pipe) outcome(err error, said string) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, program.ErrTooBig): // this message's envelope is
		return err
	case errors.Is(err, program.ErrStart):
		return queue.Unreachable(err)
	case !ok:
		return err
	}
	f, ok := final[exit.ExitCode()]
	if !ok {
		return fmt.Errorf("%s: %w: %s", s.program.Path(), err, said)
	}
	if said == "" {
		said = f.text
	}
	return &smtp.SMTPError{Code: 550, EnhancedCode: f.status, Message: said}
}
