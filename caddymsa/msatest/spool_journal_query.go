package msatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func (s *spoolTest) testJournalQueries() {
	j := s.journal()
	now := time.Now().UTC().Truncate(time.Second)
	a := spoolAccept("Q1", spoolNoon)
	add := func(what journal.Kind, id string, ago time.Duration, with func(*journal.Fact)) {
		f := fact(what, id)
		f.Time = now.Add(-ago)
		if with != nil {
			with(&f)
		}
		a.Facts = append(a.Facts, f)
	}
	add(journal.Accepted, "Q1", 4*time.Hour, func(f *journal.Fact) {
		f.User = "Alice@Example.org"
		f.Sender = "Alice@EXAMPLE.org"
		f.Submission = &journal.Submission{Once: "0a1b", OnceSum: "2c"}
	})
	add(journal.Deferred, "Q1", 3*time.Hour, func(f *journal.Fact) { f.Text = "451 Grey listed, come again" })
	add(journal.Accepted, "Q2", 2*time.Hour, func(f *journal.Fact) {
		f.User, f.Sender, f.Recipients = "carol", "", []string{"x@example.com", "dave@bücher.example"}
	})
	add(journal.Failed, "Q2", time.Hour, func(f *journal.Fact) {
		f.Visit.HopID, f.Visit.Answer, f.Notification = "4XyZ", "550 Mailbox unavailable", "N1"
		f.User, f.Recipients = "carol", []string{"dave@bücher.example"}
	})
	s.commit(a, "", nil)
	for _, again := range []bool{false, true} {
		if again {
			s.reopen()
			j = s.journal()
		}
		one, two := []string{"accepted Q1", "deferred Q1"}, []string{"accepted Q2", "failed Q2"}
		all := append(slices.Clone(one), two...)
		s.wantTold(journal.Query{}, all...)
		s.wantTold(journal.Query{ID: "Q1"}, one...)
		s.wantTold(journal.Query{ID: "q1"})
		s.wantTold(journal.Query{ID: "N1"}, "failed Q2")
		s.wantTold(journal.Query{ID: "Q"})
		s.wantTold(journal.Query{User: "alice@example.org"}, "accepted Q1")
		s.wantTold(journal.Query{User: "CAROL"}, two...)
		s.wantTold(journal.Query{Address: "alice@example.org"}, "accepted Q1", "deferred Q1", "failed Q2")
		s.wantTold(journal.Query{Address: "bob@EXAMPLE.net"}, one...)
		s.wantTold(journal.Query{Address: "dave@xn--bcher-kva.example"}, two...)
		s.wantTold(journal.Query{Sender: "alice@example.org"}, "accepted Q1", "deferred Q1", "failed Q2")
		s.wantTold(journal.Query{Sender: "bob@example.net"})
		s.wantTold(journal.Query{Recipient: "X@example.com"}, "accepted Q2")
		s.wantTold(journal.Query{Recipient: "alice@example.org"})
		s.wantTold(journal.Query{What: []journal.Kind{journal.Accepted}}, "accepted Q1", "accepted Q2")
		s.wantTold(journal.Query{What: []journal.Kind{journal.Failed, journal.Deferred}}, "deferred Q1", "failed Q2")
		s.wantTold(journal.Query{Since: now.Add(-2 * time.Hour)}, two...)
		s.wantTold(journal.Query{Until: now.Add(-2 * time.Hour)}, one...)
		s.wantTold(journal.Query{Since: now.Add(-3 * time.Hour), Until: now.Add(-time.Hour)}, "deferred Q1", "accepted Q2")
		s.wantTold(journal.Query{HopID: "4XyZ"}, "failed Q2")
		s.wantTold(journal.Query{HopID: "4xyz"})
		s.wantTold(journal.Query{Once: "0a1b"}, "accepted Q1")
		s.wantTold(journal.Query{Once: "0A1b"})
		s.wantTold(journal.Query{Once: "2c"})
		s.wantTold(journal.Query{Once: "0a1b", User: "carol"})
		s.wantTold(journal.Query{Text: "GREY listed"}, "deferred Q1")
		s.wantTold(journal.Query{Text: "mailbox UNAVAILABLE"}, "failed Q2")
		s.wantTold(journal.Query{Text: "grey_listed"})
		s.wantTold(journal.Query{Text: "%"})
		s.wantTold(journal.Query{ID: "Q2", User: "carol", Recipient: "dave@bücher.example", What: []journal.Kind{journal.Failed}, Since: now.Add(-2 * time.Hour)}, "failed Q2")
		s.wantTold(journal.Query{ID: "Q2", User: "alice"})
		n := 0
		if err := j.Facts(background, new(journal.Query), func(*journal.Fact) bool { n++; return n < 2 }); err != nil || n != 2 {
			s.Errorf("%d facts until yield returned false, %v", n, err)
		}
	}
	cancelled, cancel := context.WithCancel(background)
	cancel()
	if err := j.Facts(cancelled, new(journal.Query), func(*journal.Fact) bool { return true }); !errors.Is(err, context.Canceled) {
		s.Errorf("Facts for somebody who has left: %v", err)
	}
	if _, err := j.Follow(background, "somewhere else", 1); err == nil {
		s.Error("Follow from a place of another journal")
	}
}

// Pages have no gaps and nothing twice, whatever comes meanwhile.
func (s *spoolTest) testJournalPages() {
	const facts, page = 100, 7
	j := s.journal()
	numbered := func(id, user string, n int) journal.Fact {
		f := fact(journal.Deferred, id)
		f.User, f.Count = user, n
		return f
	}
	for step, q := range map[int]journal.Query{1: {ID: "Q1"}, 2: {User: "user2"}, 4: {User: "user4", ID: "Q4"}} {
		id, user := fmt.Sprint("Q", step), fmt.Sprint("user", step)
		a := spoolAccept(id, spoolNoon)
		for i := range facts {
			if i%step == 0 {
				a.Facts = append(a.Facts, numbered(id, user, i))
			} else {
				a.Facts = append(a.Facts, numbered(id, "dave", i))
			}
		}
		s.commit(a, "", nil)
		want := (facts - 1) / step * step
		for more := true; more; {
			n := 0
			if err := j.Facts(background, &q, func(f *journal.Fact) bool {
				if f.Count != want {
					s.Fatalf("fact %d, wanted %d", f.Count, want)
				}
				want -= step
				n++
				q.Before = f.Position
				return n < page
			}); err != nil {
				s.Fatal(err)
			}
			more = n == page
			s.change(id, func(m *queue.EntryView) { m.Facts = []journal.Fact{numbered(id, user, 1000)} })
		}
		if want != -step {
			s.Errorf("the last was %d", want+step)
		}
	}
}

func (s *spoolTest) testJournalPurge() {
	j := s.journal()
	a := spoolAccept("Q1", spoolNoon)
	with := func(sender, recipient, text string) {
		f := fact(journal.Failed, "Q1")
		f.User, f.Sender, f.Recipients, f.Text = "u"+sender, sender, []string{recipient, "other@example.net"}, text
		a.Facts = append(a.Facts, f)
	}
	with("bob@example.org", "carol@example.net", "")
	with("carol@example.net", "BOB@Example.org", "")
	with("carol@example.net", "dave@example.net", "550 <Bob@example.ORG> is unknown")
	with("carol@example.net", "notbob@example.org", "")
	s.commit(a, "", nil)
	all, _ := follow(s, j, "")
	if n, err := j.Purge(background, "bob@EXAMPLE.org"); n != 3 || err != nil {
		s.Errorf("Purge: %d, %v", n, err)
	}
	if n, err := j.Purge(background, "bob@EXAMPLE.org"); n != 0 || err != nil {
		s.Errorf("Purge again: %d, %v", n, err)
	}
	for range 2 {
		j = s.journal()
		s.wantTold(journal.Query{Address: "bob@example.org"})
		s.wantTold(journal.Query{Text: "bob@example.org"})
		s.wantTold(journal.Query{Text: "unknown"}, "failed Q1")
		s.wantTold(journal.Query{Recipient: "carol@example.net"}, "failed Q1")
		s.wantTold(journal.Query{Sender: "carol@example.net"}, "failed Q1", "failed Q1", "failed Q1")
		facts, _ := follow(s, j, "")
		if len(facts) != len(all) {
			s.Fatalf("%d facts, and %d before", len(facts), len(all))
		}
		for i := range facts {
			if facts[i].Position != all[i].Position {
				s.Error("facts have moved")
			}
			if text := strings.ReplaceAll(asJSON(s, facts[i]), "notbob@", ""); strings.Contains(strings.ToLower(text), "bob@example") && !strings.Contains(text, `"ubob@`) {
				s.Errorf("%s", text)
			}
		}
		s.reopen()
	}
	s.change("Q1", func(m *queue.EntryView) {
		f := fact(journal.Deferred, "Q1")
		f.Recipients = []string{"bob@example.org"}
		m.Facts = []journal.Fact{f}
	})
	s.wantTold(journal.Query{Address: "bob@example.org"}, "deferred Q1")
}
