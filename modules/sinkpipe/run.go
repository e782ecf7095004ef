package sinkpipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// lastWords is how long the output of a command that has ended is waited for, where something that
// could not be killed holds it open. What became of the delivery is known by then.
const lastWords = 2 * time.Second

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
	timed, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	message := &trackedReader{r: m}
	said, err := s.run(timed, env, message)
	switch {
	case message.failed() != nil: // half a message was given: whatever it made of it counts for nothing
		return fmt.Errorf("read message: %w", message.failed())
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil && timed.Err() != nil:
		return fmt.Errorf("%s did not end within %v", s.path, time.Duration(s.Timeout))
	}
	return s.outcome(err, said)
}

// run runs the command and ends what it started. Its end is what counts: a child in the background that keeps
// the output open, or never reads its input, changes nothing.
func (s *Pipe) run(ctx context.Context, env *environment, message *trackedReader) (said string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	cmd, in, err := s.start(ctx, env.variables(s.env), w)
	if errors.Is(err, errTooBig) && env.file != "" { // a system with narrower bounds than ours
		env.inFile = true
		cmd, in, err = s.start(ctx, env.variables(s.env), w)
	}
	_ = w.Close()
	if err != nil {
		return "", err
	}
	message.stop = cmd.Cancel
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		feed(in, message)
	}()
	out := &output{left: s.MaxOutput}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(out, r)
	}()
	err = wait(cmd, env.mark) // closes in
	<-fed
	_ = r.SetReadDeadline(time.Now().Add(lastWords))
	<-read
	return out.line(), err
}

// pipesBroken takes SIGPIPE, which Caddy ignores: a signal that is ignored stays so in commands, where "kill -PIPE" and pipelines
// such as "yes | head" count on it, and one that is handled does not. Nobody reads it.
var pipesBroken = make(chan os.Signal, 1)

// start starts the command with its standard input, which closes when it has ended.
func (s *Pipe) start(ctx context.Context, env []string, out *os.File) (*exec.Cmd, io.WriteCloser, error) {
	cmd := exec.CommandContext(ctx, s.path, s.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.Dir, env, out, out
	ownGroup(cmd)
	signal.Notify(pipesBroken, syscall.SIGPIPE)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, in, cmd.Start()
}

// feed gives the message. One that cannot be read to its end has the command killed before that sees an end.
func feed(in io.WriteCloser, message *trackedReader) {
	_, _ = io.Copy(in, message) // a command need not read it all
	if message.failed() == nil {
		_ = in.Close()
	}
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
	case errors.Is(err, errTooBig): // this message's envelope is
		return err
	case !ok: // it could not be started
		return queue.Unreachable(err)
	}
	f, ok := final[exit.ExitCode()]
	if !ok {
		return fmt.Errorf("%s: %w: %s", s.path, err, said)
	}
	if said == "" {
		said = f.text
	}
	return &smtp.SMTPError{Code: 550, EnhancedCode: f.status, Message: said}
}

// output keeps the first octets and throws the rest away, so that the command never waits.
type output struct {
	kept []byte
	left int
}

func (o *output) Write(p []byte) (int, error) {
	n := min(len(p), o.left)
	o.kept = append(o.kept, p[:n]...)
	o.left -= n
	return len(p), nil
}

// line is the first that is not empty; the queue makes it harmless.
func (o *output) line() string {
	for line := range strings.Lines(string(o.kept)) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}

// trackedReader remembers that the message could not be read to its end, and kills the command
// then: half a message must not look like a whole one.
type trackedReader struct {
	r    io.Reader
	stop func() error

	mu  sync.Mutex
	err error
}

func (t *trackedReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if err != nil && err != io.EOF {
		t.mu.Lock()
		t.err = err
		t.mu.Unlock()
		_ = t.stop()
	}
	return n, err
}

func (t *trackedReader) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
