// Package program runs programs that take what they are given on standard input, and ends all that they started.
package program

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Config is which program, and how it runs.
type Config struct {
	// Command and its arguments. Required. A command without a slash is looked for in PATH when the
	// config is loaded. Placeholders ({env.*}, {file.*}) are resolved then too.
	Command []string `json:"command,omitempty"`
	// Dir is where the command runs. Default: the working directory.
	Dir string `json:"dir,omitempty"`
	// Env are more variables of its environment. Placeholders are resolved when the config is loaded.
	Env map[string]string `json:"env,omitempty"`
	// Timeout is how long it may run; then it is killed with all that it started. What runs as another user (sudo) cannot be killed and is
	// left behind after 10 seconds. Default: 5m.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// MaxOutput is how many octets of its output are read; more is thrown away. Default: 4096.
	MaxOutput int `json:"max_output,omitempty"`
}

// Settings are the lines of a Caddyfile block:
//
//	dir        <path>
//	env        <name> <value>
//	timeout    <duration>
//	max_output <octets>
func (c *Config) Settings() []conf.Setting {
	return []conf.Setting{
		conf.Text("dir", &c.Dir),
		conf.Each("env", conf.Pair(&c.Env)),
		conf.Value("timeout", &c.Timeout),
		conf.Size("max_output", &c.MaxOutput),
	}
}

// Program can be run, also several times at once.
type Program struct {
	path      string
	args      []string
	env       []string
	dir       string
	timeout   time.Duration
	maxOutput int
}

// Open finds the command and sets the defaults.
func (c *Config) Open() (*Program, error) {
	if len(c.Command) == 0 || c.Command[0] == "" {
		return nil, errors.New("a command is required, as in: pipe /usr/local/bin/take-declaration --strict")
	}
	var resolved []string
	for _, arg := range c.Command {
		arg, err := conf.Expand(arg)
		if err != nil {
			return nil, fmt.Errorf("command: %w", err)
		}
		resolved = append(resolved, arg)
	}
	path, err := find(resolved[0])
	if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil {
			return nil, fmt.Errorf("dir: %w", err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("dir: %s is not a directory", c.Dir)
		}
	}
	p := &Program{path: path, args: resolved[1:], dir: c.Dir}
	for name, value := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.HasPrefix(name, "MSA_") {
			return nil, fmt.Errorf("env: %q cannot be set; names beginning with MSA_ are the server's own", name)
		}
		value, err := conf.Expand(value)
		if err != nil {
			return nil, fmt.Errorf("env: %s: %w", name, err)
		}
		p.env = append(p.env, name+"="+value)
	}
	if err := conf.First(conf.SetDefault(&c.Timeout, conf.Duration(5*time.Minute), "timeout"), conf.SetDefault(&c.MaxOutput, 4096, "max_output")); err != nil {
		return nil, err
	}
	p.timeout, p.maxOutput = time.Duration(c.Timeout), c.MaxOutput
	return p, nil
}

// Path of the program's file.
func (p *Program) Path() string { return p.path }

// Key tells commands apart.
func (p *Program) Key() string { return p.path + "\x00" + strings.Join(p.args, "\x00") }

// ErrTooBig is what a system says to more arguments and variables than it takes. Nothing was read of the input then.
const ErrTooBig = syscall.E2BIG

// ErrStart says that the program could not be started.
var ErrStart = errors.New("cannot be started")

// lastWords is how long the output of a command that has ended is waited for, where something that
// could not be killed holds it open. What came of it is known by then.
const lastWords = 2 * time.Second

// Run runs the program and returns the first line that it said. Its environment is what is configured, PATH and LANG of this process,
// and the variables. An error is an *exec.ExitError, or it was not run to its end. The program need not read its input.
func (p *Program) Run(ctx context.Context, variables []string, in io.Reader) (said string, err error) {
	timed, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	input := &input{r: in}
	said, err = p.run(timed, variables, input)
	switch {
	case input.failed() != nil: // half of it was given: whatever it made of that counts for nothing
		return said, fmt.Errorf("read input: %w", input.failed())
	case errors.Is(err, errLeft):
		return said, fmt.Errorf("%s did not end in time and %w", p.path, err)
	case err != nil && ctx.Err() != nil:
		return said, ctx.Err()
	case err != nil && timed.Err() != nil:
		return said, fmt.Errorf("%s did not end within %v", p.path, p.timeout)
	}
	return said, err
}

// run runs the command and ends what it started. Its end is what counts: a child in the background that keeps
// the output open, or never reads its input, changes nothing.
func (p *Program) run(ctx context.Context, variables []string, in *input) (said string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	mark := "MSA_RUN=" + rand.Text()
	cmd, stdin, err := p.start(ctx, append(p.environment(mark), variables...), w)
	_ = w.Close()
	if err != nil {
		if why := p.Check(); why != nil { // in more words than the system has
			err = why
		}
		return "", fmt.Errorf("%w: %w", ErrStart, err)
	}
	in.kills(cmd.Cancel)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		in.feed(stdin)
	}()
	out := &output{left: p.maxOutput}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(out, r)
	}()
	ended := make(chan error, 1)
	go func() { ended <- wait(cmd, mark) }() // closes stdin
	last := lastWords
	if err = end(ctx, ended); errors.Is(err, errLeft) {
		in.leave()
		last = 0
	} else {
		<-fed
	}
	_ = r.SetReadDeadline(time.Now().Add(last))
	<-read
	return out.line(), err
}

// errLeft says that a command goes on, and nobody waits for it any more.
var errLeft = errors.New("cannot be killed (it may run as another user); it is left behind")

// dying is how long a command that was killed may take to end. Tests shorten it.
var dying = 10 * time.Second

// end waits for a command, which is killed when ctx ends, but not for one that goes on then: that of another user (sudo), or one that the
// kernel holds.
func end(ctx context.Context, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	patience := time.NewTimer(dying)
	defer patience.Stop()
	select {
	case err := <-ended:
		return err
	case <-patience.C:
		return errLeft
	}
}

// environment is what every run has. mark is a variable by which what the run started is known.
func (p *Program) environment(mark string) []string {
	env := append([]string(nil), p.env...)
	for _, name := range []string{"PATH", "LANG"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return append(env, mark)
}

// pipesBroken takes SIGPIPE, which Caddy ignores: a signal that is ignored stays so in commands, where "kill -PIPE" and pipelines
// such as "yes | head" count on it, and one that is handled does not. Nobody reads it.
var pipesBroken = make(chan os.Signal, 1)

// start starts the command with its standard input, which closes when it has ended.
func (p *Program) start(ctx context.Context, env []string, out *os.File) (*exec.Cmd, io.WriteCloser, error) {
	cmd := exec.CommandContext(ctx, p.path, p.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, env, out, out
	ownGroup(cmd)
	signal.Notify(pipesBroken, syscall.SIGPIPE)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, in, cmd.Start()
}
