//go:build unix

package notifypipe

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/program"
)

func script(t *testing.T, text string, timeout time.Duration) *Pipe {
	t.Helper()
	dir := t.TempDir()
	p := &Pipe{Config: program.Config{Command: []string{"sh", "-c", text}, Dir: dir, Timeout: conf.Duration(timeout)}}
	if err := p.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return p
}

func expired() *notify.Event {
	return notify.NewEvent(&journal.Fact{Time: time.Now(), What: journal.Expired, ID: "Q1", Sender: "$(touch hacked)@example.org", Text: "too old\nfor a line"})
}

// The event is a line of JSON on standard input, and names itself in the environment.
func TestNotify(t *testing.T) {
	p := script(t, `cat > event; echo "$MSA_EVENT_ID $MSA_EVENT_TYPE $MSA_QUEUE_ID" > env`, 0)
	e := expired()
	if err := p.Notify(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(filepath.Join(p.Dir, "event"))
	var got struct {
		Type string
		Data struct{ Error string }
	}
	if err := json.Unmarshal(b, &got); err != nil || got.Type != "message.expired" || got.Data.Error != "too old\nfor a line" || strings.Count(string(b), "\n") != 1 || b[len(b)-1] != '\n' {
		t.Errorf("%q, %v", b, err)
	}
	if b, _ := os.ReadFile(filepath.Join(p.Dir, "env")); string(b) != e.ID+" message.expired Q1\n" {
		t.Errorf("%q", b)
	}
}

func TestExitCodes(t *testing.T) {
	for code, refused := range map[string]bool{"65": true, "1": false, "75": false, "127": false} {
		err := script(t, "echo not that; exit "+code, 0).Notify(t.Context(), expired())
		if _, ok := errors.AsType[*notify.RefusedError](err); err == nil || ok != refused || !strings.Contains(err.Error(), "not that") {
			t.Errorf("%s: %v", code, err)
		}
	}
	began := time.Now()
	if err := script(t, "sleep 1000", 50*time.Millisecond).Notify(t.Context(), expired()); err == nil || !strings.Contains(err.Error(), "did not end within") || time.Since(began) > time.Minute {
		t.Error(err)
	}
	p := script(t, "true", 0)
	if err := os.Remove(p.Dir); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*notify.UnreachableError](p.Notify(t.Context(), expired())); !ok {
		t.Error("it cannot be started")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := script(t, "true", 0).Notify(ctx, expired()); err == nil {
		t.Error("it was taken back")
	}
}

// The example is one of this directive.
func TestNoCommand(t *testing.T) {
	for _, command := range [][]string{nil, {""}} {
		err := (&Pipe{Config: program.Config{Command: command}}).Provision(caddy.Context{})
		if err == nil || !strings.Contains(err.Error(), "as in: notify pipe ") {
			t.Error(err)
		}
	}
}
