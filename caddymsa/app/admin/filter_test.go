package admin

import (
	"net/url"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Whose messages are asked for compares as names do everywhere.
func TestQueueFilterFoldsUser(t *testing.T) {
	m := &queue.EntryView{Entry: &queue.Entry{User: "Alice@D.example"}}
	for name, want := range map[string]bool{"alice@d.example": true, "ALICE@D.EXAMPLE": true, "bob@d.example": false} {
		if f, err := parseFilter(url.Values{"user": {name}}); err != nil || f.match(m) != want {
			t.Errorf("%s: %v, want %v", name, !want, want)
		}
	}
}
