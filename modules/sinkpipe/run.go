package sinkpipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// killDelay is how long a killed command's children may keep its output open.
const killDelay = 2 * time.Second

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
	env, err := s.environ(envelope.Of(d))
	if err != nil {
		return queue.Permanent(err)
	}
	timed, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	message := &trackedReader{r: m}
	out := &output{left: s.MaxOutput}
	cmd := exec.CommandContext(timed, s.path, s.args...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Dir, env, message, out, out
	cmd.WaitDelay = killDelay
	ownGroup(cmd)
	message.kill = cmd.Cancel
	err = cmd.Run()
	switch {
	case message.err != nil: // half a message was given: whatever it made of it counts for nothing
		return fmt.Errorf("read message: %w", message.err)
	case ctx.Err() != nil:
		return ctx.Err()
	case timed.Err() != nil:
		return fmt.Errorf("%s did not end within %v", s.path, time.Duration(s.Timeout))
	}
	return s.outcome(err, out.line())
}

// environ is the command's. A value with a NUL cannot be one, and no address has one.
func (s *Pipe) environ(v envelope.Envelope) ([]string, error) {
	all, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var rcpts []string
	for _, r := range v.Recipients {
		rcpts = append(rcpts, r.Address)
	}
	env := append([]string(nil), s.env...)
	for _, name := range []string{"PATH", "LANG"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	env = append(env,
		"MSA_QUEUE_ID="+v.ID, "MSA_KEY="+v.Key, "MSA_SERVER="+v.Server, "MSA_SENDER="+v.Sender, "MSA_RECIPIENTS="+strings.Join(rcpts, "\n"), "MSA_USER="+v.User,
		"MSA_REMOTE_IP="+v.RemoteIP, "MSA_SIZE="+strconv.FormatInt(v.Size, 10), "MSA_ATTEMPT="+strconv.Itoa(v.Attempt), "MSA_ENVELOPE="+string(all))
	for _, e := range env {
		if strings.IndexByte(e, 0) >= 0 {
			return nil, errors.New("the envelope has a NUL in it")
		}
	}
	return env, nil
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
// before that sees an end: half a message must not look like a whole one.
type trackedReader struct {
	r    io.Reader
	kill func() error
	err  error
}

func (t *trackedReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if err != nil && err != io.EOF {
		t.err = err
		_ = t.kill()
	}
	return n, err
}
