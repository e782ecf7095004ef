// Package sinkpipe gives messages to a command.
package sinkpipe

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(Pipe))
}

// Pipe runs a command for each delivery, without a shell: the message is on its standard input,
// the envelope in its environment. What clients said is never among its arguments.
//
// The environment is PATH and LANG of the server, Env, and MSA_QUEUE_ID, MSA_KEY (the same in
// every attempt at a delivery, and in no other), MSA_SERVER, MSA_SENDER (empty for <>),
// MSA_RECIPIENTS (an address a line), MSA_USER, MSA_REMOTE_IP, MSA_SIZE, MSA_ATTEMPT, MSA_ENVELOPE, all of it as
// JSON, and MSA_ENVELOPE_FILE, a file with the same JSON. MSA_RECIPIENTS and MSA_ENVELOPE are not set when they are larger than 64 KiB
// together, which an environment may not take: the file has them always.
//
// When the command ends its exit code counts, whatever it leaves behind, and that is killed: its process group, and on
// Linux what it started in sessions of their own too, as long as those keep the variable MSA_RUN.
//
// Exit code 0 is delivered. The codes of sysexits.h that speak of the message or its addresses fail for
// good: 65 (5.6.0), 67 (5.1.1), 68 (5.1.2), 69 (5.3.0), 73 (5.2.0), 76 (5.5.0) and 77 (5.7.1).
// Every other end, 75 (EX_TEMPFAIL), a signal and a command that is not there among them, is tried
// again. The first line of output stands in the bounce when it fails for good, and in the log.
type Pipe struct {
	// Command and its arguments. Required. A command without a slash is looked for in PATH when the
	// config is loaded. Placeholders ({env.*}, {file.*}) are resolved then too.
	Command []string `json:"command,omitempty"`
	// Dir is where the command runs. Default: the working directory.
	Dir string `json:"dir,omitempty"`
	// Env are more variables of its environment. Placeholders are resolved when the config is loaded.
	Env map[string]string `json:"env,omitempty"`
	// Timeout is how long it may run; then it is killed with all that it started. Default: 5m.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// MaxOutput is how many octets of its output are read; more is thrown away. Default: 4096.
	MaxOutput int `json:"max_output,omitempty"`
	// Concurrency is how many run at once. Default: 4.
	Concurrency int `json:"concurrency,omitempty"`

	path string
	args []string
	env  []string
}

// CaddyModule returns the Caddy module information.
func (*Pipe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.pipe", New: func() caddy.Module { return new(Pipe) }}
}

// Provision finds the command and sets the defaults.
func (s *Pipe) Provision(caddy.Context) error {
	if len(s.Command) == 0 || s.Command[0] == "" {
		return errors.New("pipe: a command is required, as in: pipe /usr/local/bin/take-declaration --strict")
	}
	var resolved []string
	for _, arg := range s.Command {
		arg, err := conf.Expand(arg)
		if err != nil {
			return fmt.Errorf("pipe: command: %w", err)
		}
		resolved = append(resolved, arg)
	}
	path, err := exec.LookPath(resolved[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return fmt.Errorf("pipe: command: %w", err)
	}
	s.path, s.args = path, resolved[1:]
	for name, value := range s.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.HasPrefix(name, "MSA_") {
			return fmt.Errorf("pipe: env: %q cannot be set; names beginning with MSA_ are the envelope's", name)
		}
		value, err := conf.Expand(value)
		if err != nil {
			return fmt.Errorf("pipe: env: %s: %w", name, err)
		}
		s.env = append(s.env, name+"="+value)
	}
	if s.Timeout < 0 || s.MaxOutput < 0 || s.Concurrency < 0 {
		return errors.New("pipe: timeout, max_output and concurrency must not be negative")
	}
	if s.Timeout == 0 {
		s.Timeout = conf.Duration(5 * time.Minute)
	}
	if s.MaxOutput == 0 {
		s.MaxOutput = 4096
	}
	if s.Concurrency == 0 {
		s.Concurrency = 4
	}
	return nil
}

// Destination implements queue.Destinations.
func (s *Pipe) Destination(*queue.Entry, *queue.Recipient) queue.Destination {
	return queue.Destination{Name: s.path + "\x00" + strings.Join(s.args, "\x00"), Concurrency: s.Concurrency}
}

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	pipe <command> [<arguments...>] {
//		dir         <path>
//		env         <name> <value>
//		timeout     <duration>
//		max_output  <octets>
//		concurrency <count>
//	}
func (s *Pipe) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if s.Command = d.RemainingArgs(); len(s.Command) == 0 {
		return d.Err("pipe takes a command, as in: pipe /usr/local/bin/take-declaration --strict")
	}
	return conf.Block(d,
		conf.Text("dir", &s.Dir),
		conf.Each("env", conf.Pair(&s.Env)),
		conf.Value("timeout", &s.Timeout),
		conf.Size("max_output", &s.MaxOutput),
		conf.Count("concurrency", &s.Concurrency),
	)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Pipe)(nil)
	_ queue.Sink            = (*Pipe)(nil)
	_ queue.Destinations    = (*Pipe)(nil)
	_ caddyfile.Unmarshaler = (*Pipe)(nil)
)
