package admin

import (
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// When an application password was last used is known under the names of before too; what the journal has of another user
// who had the name, or has it now, is not taken for it.
func TestLastUsedRenamed(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	at := func(minute int) time.Time {
		return now.Add(time.Duration(minute-60) * time.Minute)
	}
	used := func(minute int, user, label string) journal.Fact {
		return journal.Fact{Time: at(minute), What: journal.Accepted, ID: user, User: user, Submission: &journal.Submission{AppPassword: label}}
	}
	renamed := func(minute int, from, to string) journal.Fact {
		return journal.Fact{Time: at(minute), What: journal.Renamed, User: to, Sender: from}
	}
	j := queuetest.NewMemSpool()
	j.Note(
		used(1, "carol", "phone"), // another carol
		used(2, "alice", "phone"), used(3, "alice", "mail"),
		renamed(10, "alice", "bob"),
		used(11, "bob", "Phone"), used(12, "alice", "mail"), // another alice
		renamed(20, "bob", "carol"), renamed(21, "dave", "erin"),
		used(22, "erin", "tablet"), used(23, "bob", "mail"), // another bob
	)
	u := passwd.Summary{Name: "carol", AppPasswords: []passwd.AppSummary{{Label: "phone"}, {Label: "mail"}, {Label: "tablet"}}}
	for _, s := range spans(t.Context(), []journal.Journal{j}, u.Name) {
		usedIn(t.Context(), j, s, u.AppPasswords)
	}
	for i, want := range []time.Time{at(11), at(3), {}} {
		if a := u.AppPasswords[i]; !a.LastUsed.Equal(want) {
			t.Errorf("%s: %s, want %s", a.Label, a.LastUsed, want)
		}
	}
}

// Names that go round in a circle end.
func TestLastUsedCircle(t *testing.T) {
	j := queuetest.NewMemSpool()
	for i := range 100 {
		j.Note(journal.Fact{Time: time.Now().Add(time.Duration(i-200) * time.Second), What: journal.Renamed, User: []string{"a", "b"}[i%2], Sender: []string{"b", "a"}[i%2]})
	}
	if all := spans(t.Context(), []journal.Journal{j}, "b"); len(all) != maxFormer+1 {
		t.Errorf("%+v", all)
	}
}
