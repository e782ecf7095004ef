package cmddoctor

import (
	"os"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal/terminaltest"
)

// What servers say does not steer a terminal as JSON either, in which only what is below U+0020 is escaped.
func TestJSONOnTerminal(t *testing.T) {
	shown := terminaltest.Shown(t, func(terminal *os.File) {
		o := &options{json: true}
		if err := o.report(terminal, []doctor.Finding{{Check: "routes", Level: doctor.OK, Text: "it says \u009b2J\u202e"}}); err != nil {
			t.Error(err)
		}
	})
	if !strings.Contains(shown, "it says ?2J?") || strings.ContainsAny(shown, "\u009b\u202e") {
		t.Errorf("%q", shown)
	}
}
