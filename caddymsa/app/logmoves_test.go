package app

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// A reload that has the log written elsewhere takes along what outlives configurations: open sessions and the queue. A
// configuration that does not come into force takes nothing.
func TestReloadMovesLog(t *testing.T) {
	in := newInstance(t)
	in.load()
	clients := [...]*dialogue{in.session(), in.session(), in.session()}
	moved := bytes.ReplaceAll(in.config(), []byte(in.dir+`/log"`), []byte(in.dir+`/elsewhere"`))
	if err := caddy.Load(moved, true); err != nil {
		t.Fatal(err)
	}
	id := clients[0].submit("bob@example.net")
	clients[0].do("QUIT", "221")
	clients[1].envelope("bob@example.net")
	clients[1].do("DATA", "354")
	_ = clients[1].nc.Close()
	in.refuses(with("limits", map[string]any{"recipients": 10}), "recipients")
	clients[2].do("QUIT", "221")
	for _, texts := range [][]string{{`"logger":"msa.queue"`, id}, {"message not received whole"}, {"session ended", `"accepted":1`}, {"session ended", `"accepted":0`, `"reason":"quit"`}} {
		in.await("line elsewhere with "+strings.Join(texts, ", "), func() bool {
			log, _ := os.ReadFile(in.dir + "/elsewhere")
			for line := range strings.Lines(string(log)) {
				has := true
				for _, text := range texts {
					has = has && strings.Contains(line, text)
				}
				if has {
					return true
				}
			}
			return false
		})
	}
	if log := in.log(); strings.Contains(log, id) || strings.Contains(log, "session ended") {
		t.Errorf("in the log that was left:\n%s", log)
	}
}
