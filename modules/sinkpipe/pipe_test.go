//go:build unix

package sinkpipe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
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
	s := &Pipe{Command: []string{file, "one argument", "$(touch hacked)"}, Dir: dir, Env: map[string]string{"DIR": dir}}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return s
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
	s := script(t, "cat > /dev/null; kill -9 $$")
	if err := s.Deliver(context.Background(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org")); queue.OutcomeOf(err) != queue.OutcomeDeferred {
		t.Errorf("killed: %v", err)
	}
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	if err := s.Deliver(context.Background(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org")); queue.OutcomeOf(err) != queue.OutcomeDeferred {
		t.Errorf("gone: %v", err)
	}
}

// What does not end is killed, its children too; what does not stop writing does not fill memory;
// what does not read is no fault of it.
func TestBounds(t *testing.T) {
	s := script(t, `sleep 1000 & echo $! > "$DIR/child"; sleep 1000`)
	s.Timeout = caddy.Duration(200 * time.Millisecond)
	began := time.Now()
	err := s.Deliver(context.Background(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org"))
	if err == nil || !strings.Contains(err.Error(), "did not end within") || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	s = script(t, "exec yes")
	s.Timeout = caddy.Duration(300 * time.Millisecond)
	out := s.Deliver(context.Background(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org"))
	if out == nil || len(out.Error()) > 1000 {
		t.Errorf("%d", len(out.Error()))
	}
	s = script(t, "exit 0")
	if err := s.Deliver(context.Background(), msatest.NewDelivery([]byte(strings.Repeat("x", 1<<20)), "bob@example.org")); err != nil {
		t.Errorf("a command that reads nothing: %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, s := range []*Pipe{{}, {Command: []string{"/no/such/command"}}, {Command: []string{"true"}, Env: map[string]string{"MSA_USER": "x"}}, {Command: []string{"true"}, Timeout: -1}} {
		if err := s.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
}
