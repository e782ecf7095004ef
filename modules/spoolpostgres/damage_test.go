//go:build linux

package spoolpostgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A message whose rows cannot be read holds up no other, and is tried again when it was mended.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	for _, id := range []string{"Q1", "Q2", "Q3", "Q4"} {
		if err := submit(s, id); err != nil {
			t.Fatal(err)
		}
	}
	srv.Exec(t, "ALTER TABLE msa.msa_entry ADD was bytea")
	srv.Exec(t, "UPDATE msa.msa_entry SET was = entry, entry = 'nonsense' WHERE id IN ('Q1', 'Q3')")
	srv.Exec(t, "DELETE FROM msa.msa_job WHERE key = (SELECT key FROM msa.msa_entry WHERE id = 'Q2')")
	lease := func(when time.Time) string {
		l, _, err := s.Lease(context.Background(), when, queue.Want{})
		if errors.Is(err, queue.ErrNoneDue) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		return l.Entry().ID
	}
	if id := lease(time.Now()); id != "Q4" {
		t.Errorf("leased %q, wanted Q4", id)
	}
	if id := lease(time.Now()); id != "" {
		t.Errorf("leased %q", id)
	}
	var listed []string
	err := s.List(context.Background(), "", func(m *queue.EntryView) bool { listed = append(listed, m.Entry.ID); return true })
	if got := strings.Join(listed, " "); got != "Q2 Q4" || err == nil || !strings.Contains(err.Error(), "Q1") || !strings.Contains(err.Error(), "Q3") {
		t.Errorf("listed %q, %v", got, err)
	}
	srv.Exec(t, "UPDATE msa.msa_entry SET entry = was WHERE was IS NOT NULL")
	var again []string
	for id := lease(time.Now().Add(unreadableFor)); id != ""; id = lease(time.Now().Add(unreadableFor)) {
		again = append(again, id)
	}
	if got := strings.Join(again, " "); got != "Q1 Q3" {
		t.Errorf("mended ones: %q", got)
	}
}
