//go:build unix

package sinkpipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/program"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// script is a command that sh runs, with $DIR as its place.
func script(t testing.TB, text string) *Pipe {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "command")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := &Pipe{Config: program.Config{Command: []string{file, "one argument", "$(touch hacked)"}, Dir: dir, Env: map[string]string{"DIR": dir}}}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// limit has the command run only so long.
func limit(t *testing.T, s *Pipe, timeout conf.Duration) {
	t.Helper()
	s.Timeout = timeout
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	msatest.Sink(t, func(t testing.TB) (queue.Sink, func() [][]byte) {
		s := script(t, `cat > "$DIR/$MSA_KEY.tmp" && mv "$DIR/$MSA_KEY.tmp" "$DIR/$MSA_KEY.eml"`)
		return s, func() (all [][]byte) {
			files, _ := filepath.Glob(filepath.Join(s.Dir, "*.eml"))
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, b)
			}
			return all
		}
	})
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_THE_SERVER", "x")
	s := script(t, `env > "$DIR/env"; printf '%s|' "$@" > "$DIR/args"; cat > /dev/null`)
	d := msatest.NewDelivery([]byte("x\r\n"), "bob@example.org", `"$(touch hacked)"@example.org`)
	if err := s.Deliver(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(filepath.Join(s.Dir, "env"))
	for _, want := range []string{"MSA_QUEUE_ID=" + d.Entry.ID, "MSA_KEY=" + envelope.Key(d), "MSA_SENDER=" + d.Entry.Sender, "MSA_RECIPIENTS=bob@example.org\n\"$(touch hacked)\"@example.org\n", "MSA_ATTEMPT=1", `MSA_ENVELOPE={"id":`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
	if strings.Contains(string(b), "SECRET_OF_THE_SERVER") {
		t.Error("the server's environment went along")
	}
	if b, _ := os.ReadFile(filepath.Join(s.Dir, "args")); string(b) != "one argument|$(touch hacked)|" {
		t.Errorf("arguments %q", b)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "hacked")); err == nil {
		t.Error("a shell was at work")
	}
}

func TestExitCodes(t *testing.T) {
	for code, want := range map[string]string{
		"0": "", "67": "550 5.1.1 no such box", "77": "550 5.7.1 no such box", "65": "550 5.6.0 no such box", "75": "later", "78": "later", "71": "later", "1": "later", "127": "later",
	} {
		s := script(t, "cat > /dev/null; echo; echo no such box; exit "+code)
		err := s.Deliver(context.Background(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org"))
		got := ""
		if reply, ok := errors.AsType[*smtp.SMTPError](err); ok {
			c := reply.EnhancedCode
			got = fmt.Sprintf("%d %d.%d.%d %s", reply.Code, c[0], c[1], c[2], reply.Message)
		} else if err != nil {
			got = "later"
			if !strings.Contains(err.Error(), "no such box") {
				t.Errorf("%s: %v", code, err)
			}
		}
		if got != want {
			t.Errorf("exit %s: %q, want %q", code, got, want)
		}
	}
	signal.Ignore(syscall.SIGPIPE) // as Caddy does; a command has it as always
	t.Cleanup(func() { signal.Reset(syscall.SIGPIPE) })
	var s *Pipe
	names := []string{"KILL", "PIPE", "TERM"}
	if !signal.Ignored(syscall.SIGHUP) { // under nohup commands ignore it as we do
		names = append(names, "HUP")
	}
	for _, name := range names {
		s = script(t, "cat > /dev/null; kill -"+name+" $$; exit 0")
		if err := s.Deliver(context.Background(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org")); queue.OutcomeOf(err) != queue.OutcomeDeferred {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(s.program.Path()); err != nil {
		t.Fatal(err)
	}
	if err := s.Deliver(context.Background(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org")); queue.OutcomeOf(err) != queue.OutcomeDeferred {
		t.Errorf("gone: %v", err)
	}
}

// What does not end is killed, its children too; what does not stop writing does not fill memory;
// what does not read is not its fault.
func TestBounds(t *testing.T) {
	s := script(t, `sleep 1000 & echo $! > "$DIR/child"; sleep 1000`)
	limit(t, s, conf.Duration(200*time.Millisecond))
	began := time.Now()
	err := s.Deliver(context.Background(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org"))
	if err == nil || !strings.Contains(err.Error(), "did not end within") || time.Since(began) > 60*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	s = script(t, "exec yes")
	limit(t, s, conf.Duration(300*time.Millisecond))
	out := s.Deliver(context.Background(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org"))
	if out == nil || len(out.Error()) > 1000 {
		t.Errorf("%d", len(out.Error()))
	}
	s = script(t, "exit 0")
	if err := s.Deliver(context.Background(), msatest.NewDelivery([]byte(strings.Repeat("x", 1<<20)), "bob@example.org")); err != nil {
		t.Errorf("a command that reads nothing: %v", err)
	}
}

// What a command leaves behind does not change what its exit code says, and is ended: in the background with its
// output open, in a session of its own, and what such a one started.
func TestLeftBehind(t *testing.T) {
	for name, text := range map[string]string{
		"output open":    `sleep 1000 & echo $! > "$DIR/child"`,
		"output closed":  `sleep 1000 > /dev/null 2>&1 < /dev/null & echo $! > "$DIR/child"`,
		"orphan":         `(sleep 1000 & echo $! > "$DIR/child")`,
		"setsid":         `setsid sh -c 'echo $$ > "$DIR/child.tmp"; mv "$DIR/child.tmp" "$DIR/child"; exec sleep 1000' & until [ -e "$DIR/child" ]; do sleep 0.01; done`,
		"setsid's child": `setsid sh -c 'sleep 1000 & echo $! > "$DIR/child.tmp"; mv "$DIR/child.tmp" "$DIR/child"; wait' & until [ -e "$DIR/child" ]; do sleep 0.01; done`,
		"stops":          `sh -c 'kill -STOP $$' & echo $! > "$DIR/child"`,
	} {
		if strings.Contains(name, "setsid") && runtime.GOOS != "linux" {
			continue
		}
		s := script(t, text+"; exit 0")
		began := time.Now()
		if err := s.Deliver(t.Context(), msatest.NewDelivery([]byte(strings.Repeat("x", 1<<20)), "bob@example.org")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > 60*time.Second {
			t.Errorf("%s: %v", name, took)
		}
		b, err := os.ReadFile(filepath.Join(s.Dir, "child"))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil || pid == 0 {
			t.Fatal(name, err)
		}
		for deadline := time.Now().Add(2 * time.Minute); syscall.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d is still there", name, pid)
			}
		}
	}
}

// An envelope that no environment takes goes by the file.
func TestLargeEnvelope(t *testing.T) {
	for _, n := range []int{1, 100, 10_000} {
		s := script(t, `cat > /dev/null; cp "$MSA_ENVELOPE_FILE" "$DIR/envelope"; echo "$MSA_ENVELOPE_FILE" > "$DIR/name"; echo "${MSA_RECIPIENTS+set}" > "$DIR/set"`)
		var rcpts []string
		for i := range n {
			rcpts = append(rcpts, fmt.Sprintf("%s%d@example.org", strings.Repeat("x", 50), i))
		}
		d := msatest.NewDelivery([]byte("x\r\n"), rcpts...)
		if err := s.Deliver(t.Context(), d); err != nil {
			t.Fatal(n, err)
		}
		b, _ := os.ReadFile(filepath.Join(s.Dir, "envelope"))
		var v envelope.Envelope
		if err := json.Unmarshal(b, &v); err != nil || len(v.Recipients) != n || v.Key != envelope.Key(d) {
			t.Errorf("%d: %d recipients, %v", n, len(v.Recipients), err)
		}
		set, _ := os.ReadFile(filepath.Join(s.Dir, "set"))
		if got := strings.TrimSpace(string(set)) == "set"; got != (n < 10_000) {
			t.Errorf("%d: variable %v", n, got)
		}
		name, _ := os.ReadFile(filepath.Join(s.Dir, "name"))
		if _, err := os.Stat(strings.TrimSpace(string(name))); err == nil {
			t.Errorf("%s stays", name)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, s := range []*Pipe{{}, {Config: program.Config{Command: []string{"/no/such/command"}}}, {Config: program.Config{Command: []string{"true"}, Env: map[string]string{"MSA_USER": "x"}}}, {Config: program.Config{Command: []string{"true"}, Timeout: -1}}} {
		if err := s.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
}

// A lane's name, which is in logs and metrics, has the arguments as they are configured: not what is secret of them.
func TestDestinationTellsNoSecret(t *testing.T) {
	t.Setenv("PIPE_TOKEN", "geheim")
	s := &Pipe{Config: program.Config{Command: []string{"/bin/sh", "-c", "exit 0", "{env.PIPE_TOKEN}"}}}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if name := s.Destination(nil, nil).Name; name != "/bin/sh -c exit 0 {env.PIPE_TOKEN}" {
		t.Errorf("%q", name)
	}
}
