package app

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.opentelemetry.io/otel"
)

// A reload that has the log written elsewhere takes along what outlives configurations: open sessions and the queue. A
// configuration that does not come into force takes nothing.
func TestReloadMovesLog(t *testing.T) {
	in := newInstance(t)
	in.load()
	clients := [...]*dialogue{in.session(), in.session(), in.session()}
	in.moveLog()
	id := clients[0].submit("bob@example.net")
	clients[0].do("QUIT", "221")
	clients[1].envelope("bob@example.net")
	clients[1].do("DATA", "354")
	_ = clients[1].nc.Close()
	in.refuses(with("limits", map[string]any{"recipients": 10}), "recipients")
	clients[2].do("QUIT", "221")
	for _, texts := range [][]string{{`"logger":"msa.queue"`, id}, {"message not received whole"}, {"session ended", `"accepted":1`}, {"session ended", `"accepted":0`, `"reason":"quit"`}} {
		in.loggedElsewhere(texts...)
	}
	if log := in.log(); strings.Contains(log, id) || strings.Contains(log, "session ended") {
		t.Errorf("in the log that was left:\n%s", log)
	}
}

// So does what is said of spans that cannot be sent.
func TestReloadMovesLogOfTracing(t *testing.T) {
	tracing(t)
	in := newInstance(t)
	in.load(withAppField("tracing", map[string]any{}))
	in.moveLog(withAppField("tracing", map[string]any{}))
	otel.Handle(errors.New("the collector is away"))
	in.loggedElsewhere("spans are not sent", "the collector is away")
}

// moveLog puts a configuration in force whose log is in another file.
func (in *instance) moveLog(edit ...func(server, app map[string]any)) {
	in.t.Helper()
	moved := bytes.ReplaceAll(in.config(edit...), []byte(in.dir+`/log"`), []byte(in.dir+`/elsewhere"`))
	if err := caddy.Load(moved, true); err != nil {
		in.t.Fatal(err)
	}
}

// loggedElsewhere waits for a line there that has all of the texts.
func (in *instance) loggedElsewhere(texts ...string) {
	in.t.Helper()
	in.await("line elsewhere with "+strings.Join(texts, ", "), func() bool {
		log, _ := os.ReadFile(in.dir + "/elsewhere")
		for line := range strings.Lines(string(log)) {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
				return true
			}
		}
		return false
	})
}
