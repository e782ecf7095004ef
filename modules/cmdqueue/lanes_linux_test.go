package cmdqueue

import (
	"os"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal/terminaltest"
)

// What a next hop says does not steer a terminal as JSON either, in which only what is below U+0020 is escaped.
func TestLanesOnTerminal(t *testing.T) {
	shown := terminaltest.Shown(t, func(terminal *os.File) {
		if err := printLanes(terminal, []adminapi.Lane{{Lane: queue.Lane{Name: "relay/a:25", Answer: "421 busy \u009b2J\u202e"}}}, true); err != nil {
			t.Error(err)
		}
	})
	if !strings.Contains(shown, "421 busy ?2J?") || strings.ContainsAny(shown, "\u009b\u202e") {
		t.Errorf("%q", shown)
	}
}
