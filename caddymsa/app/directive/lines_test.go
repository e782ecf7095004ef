package directive

import (
	"errors"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// An error that begins with the names of settings is found in the Caddyfile, at the innermost that is there.
func TestLines(t *testing.T) {
	lines := linesOf(caddyfile.NewTestDispenser(`msa msa.example.org {
		listen :587
		auth {
			mechanisms PLAIN
			throttle {
				except 192.0.2.0/24
			}
			file users
		}
		limits {
			recipients 5
		}
		deliver discard
		deliver discard
	}`))
	for text, line := range map[string]string{
		"limits: recipients: 5 is too few": ":11", "limits: bad_commands: no": ":10", "auth: mechanisms: FOO is not known": ":4", "auth: throttle: except: x": ":6",
		"auth: no backend": ":3", "tls: no": ":1", "deliver: x": ":13", "listen :x: no": ":2", "": ":1",
	} {
		if at := lines.Find(errors.New(text)); at != "Testfile"+line {
			t.Errorf("%s: %s, want %s", text, at, line)
		}
	}
}
