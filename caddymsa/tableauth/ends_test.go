package tableauth

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// An application password that expires ends the open sessions of it: they are looked up when a revision is another one.
func TestRevisionAtExpiry(t *testing.T) {
	first := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var lines strings.Builder
	for i := range 3 {
		app, _, err := passwd.MakeApp("alice", "phone", first.Add(time.Duration(i)*time.Hour).Format(time.RFC3339), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "user%d:{PLAIN}x::::::app_password=%s\n", 2-i, app.Text())
	}
	table, err := passwd.Parse(strings.NewReader(lines.String()), names.Folded)
	if err != nil {
		t.Fatal(err)
	}
	b := New(nil, nil, names.Folded)
	var now time.Time
	b.now = func() time.Time { return now }
	b.Swap(table)
	seen := make(map[uint64]bool)
	for i := range 3 {
		ends := first.Add(time.Duration(i) * time.Hour)
		now = ends.Add(-time.Second)
		before := b.Revision()
		if now = ends; b.Revision() == before {
			t.Errorf("number %d expires, and the revision stays", i+1)
		}
		if now = ends.Add(time.Minute); b.Revision() == before {
			t.Errorf("number %d has expired, and the revision is the former", i+1)
		}
		seen[before], seen[b.Revision()] = true, true
	}
	b.Swap(table)
	if len(seen) != 4 || seen[b.Revision()] {
		t.Errorf("a revision of another table comes again: %v, %d", seen, b.Revision())
	}
}
