// Package sinkpipe gives messages to a command.
package sinkpipe

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/program"
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
	program.Config
	// Concurrency is how many run at once. Default: 4.
	Concurrency int `json:"concurrency,omitempty"`

	program *program.Program
}

// CaddyModule returns the Caddy module information.
func (*Pipe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.pipe", New: func() caddy.Module { return new(Pipe) }}
}

// Provision finds the command and sets the defaults.
func (s *Pipe) Provision(caddy.Context) (err error) {
	if s.program, err = s.Config.Open(); err == nil {
		err = conf.SetDefault(&s.Concurrency, 4, "concurrency")
	}
	if err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	return nil
}

// Destination implements queue.Destinations. Its name has the arguments as they are configured: what {env.*} and {file.*}
// stand for may be secret, and lanes are named in logs and metrics.
func (s *Pipe) Destination(*queue.Entry, *queue.Recipient) queue.Destination {
	return queue.Destination{Name: strings.Join(append([]string{s.program.Path()}, s.Command[1:]...), " "), Concurrency: s.Concurrency}
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
	return conf.Block(d, append(s.Config.Settings(), conf.Count("concurrency", &s.Concurrency))...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Pipe)(nil)
	_ queue.Sink            = (*Pipe)(nil)
	_ queue.Destinations    = (*Pipe)(nil)
	_ caddyfile.Unmarshaler = (*Pipe)(nil)
)
