package directive

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// A route's own options are taken out of the block, the sink's are left in it.
func TestSplitBlock(t *testing.T) {
	for text, want := range map[string]string{
		"relay a b":                  "relay a b|",
		"relay a {\n tls off\n}":     "relay a { tls off }|",
		"relay a {\n unqueued 1m\n}": "relay a|relay { unqueued 1m }",
		"relay a {\n tls off\n queue {\n  retry 1m\n }\n x\n}": "relay a { tls off x }|relay { queue { retry 1m } }",
		"relay a {\n x {\n  queue 1\n }\n unqueued\n}":         "relay a { x { queue 1 } }|relay { unqueued }",
		"relay {\n queue {\n }\n address_map file a\n}":        "relay|relay { queue address_map file a }",
	} {
		d := caddyfile.NewTestDispenser(text)
		d.Next()
		rest, taken, err := splitBlock(d.NextSegment(), "queue", "unqueued", "address_map")
		if err != nil {
			t.Fatal(err)
		}
		if got := words(rest) + "|" + words(taken); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func words(s caddyfile.Segment) string {
	var all []string
	for _, token := range s {
		all = append(all, token.Text)
	}
	return strings.Join(all, " ")
}
