package msatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// journal is the spool's, if it keeps one.
func (s *spoolTest) journal() journal.Journal {
	s.Helper()
	j, ok := s.OpenSpool.(journal.Journal)
	if !ok {
		s.Skip("the spool keeps no journal")
	}
	return j
}

// fact is one of a message, as a queue would write it.
func fact(what journal.Kind, id string) journal.Fact {
	f := journal.Fact{Time: time.Now().UTC().Round(0), What: what, ID: id, Server: "msa.example.org", User: "alice", Sender: "alice@example.org", Recipients: []string{"bob@example.net"}, Count: 1}
	switch what {
	case journal.Accepted:
		f.Submission = &journal.Submission{Size: 5, RemoteIP: "192.0.2.1", Policies: []string{"dkim"}}
	case journal.Deferred, journal.Delivered, journal.Failed, journal.Expired:
		f.Visit = &journal.Visit{Lane: "a", Attempt: 1, Host: "mx.example.net", Answer: "250 ok", Duration: time.Second}
	}
	return f
}

// told are the facts that a query finds, in the order in which they happened, as kind and id.
func (s *spoolTest) told(q journal.Query) (all []string) {
	s.Helper()
	if err := s.journal().Facts(background, &q, func(f *journal.Fact) bool {
		all = append(all, fmt.Sprint(f.What, " ", f.ID))
		return true
	}); err != nil {
		s.Fatalf("Facts: %v", err)
	}
	slices.Reverse(all)
	return all
}

func (s *spoolTest) wantTold(q journal.Query, want ...string) {
	s.Helper()
	if got := s.told(q); !slices.Equal(got, want) {
		s.Fatalf("%+v: %q, wanted %q", q, got, want)
	}
}

// follow returns what comes after a place, a few at a time, and how far that goes.
func follow(t testing.TB, j journal.Journal, after journal.Position) (all []journal.Fact, end journal.Position) {
	t.Helper()
	for {
		facts, err := j.Follow(background, after, 3)
		if err != nil {
			t.Fatalf("Follow: %v", err)
		}
		if len(facts) > 3 {
			t.Fatalf("%d facts, wanted up to 3", len(facts))
		}
		if len(facts) == 0 {
			return all, after
		}
		all, after = append(all, facts...), facts[len(facts)-1].Position
	}
}

// eventually waits for what the spool does in its own time.
func (s *spoolTest) eventually(what string, ok func() bool) {
	s.Helper()
	for until := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			s.Fatalf("%s: not within a minute", what)
		}
	}
}

// withFacts is a message and what the journal is to have of it.
func withFacts(id string, what ...journal.Kind) *queue.Accept {
	a := spoolAccept(id, spoolNoon)
	for _, w := range what {
		a.Facts = append(a.Facts, fact(w, id))
	}
	return a
}

// Facts are there exactly when what they tell of was committed.
func (s *spoolTest) testJournalCommits() {
	s.journal()
	s.commit(withFacts("Q1", journal.Accepted), "", []byte("12345"))
	want := []string{"accepted Q1"}
	s.wantTold(journal.Query{}, want...)

	// What is not accepted.
	refused := func(ctx context.Context, a *queue.Accept) {
		s.Helper()
		d, err := s.Create(background)
		if err != nil {
			s.Fatal(err)
		}
		defer d.Abort()
		if err := d.Commit(ctx, a); err == nil {
			s.Fatal("it was committed")
		}
		s.wantTold(journal.Query{}, want...)
	}
	refused(background, withFacts("Q1", journal.Accepted)) // an id that there is
	cancelled, cancel := context.WithCancel(background)
	cancel()
	refused(cancelled, withFacts("Q2", journal.Accepted))
	d, err := s.Create(background)
	if err != nil {
		s.Fatal(err)
	}
	d.Abort()
	s.wantTold(journal.Query{}, want...)

	// An attempt, which brings a notification.
	l := s.lease(spoolNoon)
	r := deferred(l, spoolNoon.Add(time.Minute))
	r.Facts = []journal.Fact{fact(journal.Deferred, "Q1"), fact(journal.Told, "Q1")}
	notice := func(id string) queue.MessageDraft {
		d, err := s.Create(queue.AsNotification(background))
		if err != nil {
			s.Fatal(err)
		}
		return queue.MessageDraft{Draft: d, Accept: *withFacts(id, journal.Accepted)}
	}
	r.Messages = []queue.MessageDraft{notice("Q1")}
	if err := l.Record(background, r); err == nil {
		s.Fatal("recorded with a notification whose id there is")
	}
	s.wantTold(journal.Query{}, want...)
	r.Messages = []queue.MessageDraft{notice("N1")}
	s.record(l, r)
	if err := l.Record(background, r); !errors.Is(err, queue.ErrLeaseEnded) {
		s.Fatalf("Record again: %v", err)
	}
	want = append(want, "deferred Q1", "told Q1", "accepted N1")
	got := s.told(journal.Query{})
	slices.Sort(got[1:]) // of two messages either may be first
	slices.Sort(want[1:])
	if !slices.Equal(got, want) {
		s.Fatalf("%q, wanted %q", got, want)
	}
	s.wantTold(journal.Query{ID: "Q1"}, "accepted Q1", "deferred Q1", "told Q1")
	s.wantTold(journal.Query{ID: "N1"}, "accepted N1")

	// The operator.
	no := errors.New("no")
	if _, err := s.Change(background, "Q1", func(m *queue.EntryView) error {
		m.Facts = append(m.Facts, fact(journal.Held, "Q1"))
		return no
	}); !errors.Is(err, no) {
		s.Fatalf("Change: %v", err)
	}
	s.change("Q1", func(m *queue.EntryView) {
		m.Status.Held = "wait"
		m.Facts = append(m.Facts, fact(journal.Held, "Q1"))
	})
	s.change("Q1", func(m *queue.EntryView) {
		if len(m.Facts) != 0 {
			s.Errorf("a change before left %d facts", len(m.Facts))
		}
		m.Status.Held = ""
		m.Facts = []journal.Fact{fact(journal.Released, "Q1")}
	})
	s.wantTold(journal.Query{ID: "Q1"}, "accepted Q1", "deferred Q1", "told Q1", "held Q1", "released Q1")
	if _, err := s.Delete(background, "Q9", fact(journal.Deleted, "Q9")); !errors.Is(err, queue.ErrNotFound) {
		s.Fatalf("Delete: %v", err)
	}
	s.wantTold(journal.Query{ID: "Q9"})

	// What was delivered while it was deleted was delivered; nothing else follows.
	_, leases := s.leaseAll(spoolNoon.Add(time.Minute))
	if n, err := s.Delete(background, "Q1", fact(journal.Deleted, "Q1")); n != 1 || err != nil {
		s.Fatalf("Delete: %d, %v", n, err)
	}
	for _, l := range leases {
		r := delivered(l)
		id := l.Entry().ID
		r.Facts = []journal.Fact{fact(journal.Delivered, id), fact(journal.Failed, id), fact(journal.Bounced, id)}
		s.record(l, r)
	}
	s.wantTold(journal.Query{ID: "Q1"}, "accepted Q1", "deferred Q1", "told Q1", "held Q1", "released Q1", "deleted Q1", "delivered Q1")
	s.wantTold(journal.Query{ID: "N1"}, "accepted N1", "delivered N1", "failed N1", "bounced N1")
	s.wantIDs()
	before := s.told(journal.Query{})
	s.reopen()
	s.wantTold(journal.Query{}, before...)
}

// A recipient has one end: what failed between an operator's look at a message and its deletion was not deleted.
func (s *spoolTest) testJournalDeleted() {
	s.journal()
	s.commit(inLanes("Q1", spoolNoon, "a", "b", "c"), "", []byte("12345"))
	f := fact(journal.Deleted, "Q1")
	f.Recipients, f.Count = []string{"bob@a", "bob@b", "bob@c"}, 3
	for range 2 {
		l := s.lease(spoolNoon)
		s.record(l, as(l, queue.Failed))
	}
	var waits []string
	m, err := s.Get(background, "Q1")
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range m.Recipients() {
		if r.State == queue.Pending {
			waits = append(waits, r.Address)
		}
	}
	if _, err := s.Delete(background, "Q1", f); err != nil {
		s.Fatal(err)
	}
	facts, _ := follow(s, s.journal(), "")
	if len(facts) != 1 || len(waits) != 1 || !slices.Equal(facts[0].Recipients, waits) || facts[0].Count != 1 {
		s.Errorf("%v waited; the journal has %+v", waits, facts)
	}
	if len(f.Recipients) != 3 {
		s.Error("the caller's fact was changed")
	}
}

// A fact comes back as it was written, whatever is in it.
func (s *spoolTest) testJournalWhole() {
	whole := journal.Fact{
		Time: time.Now().UTC().Round(0), What: journal.Failed, ID: "Q1", Server: "msa.example.org", User: `al"ice\` + "\x01", Sender: "", Recipients: []string{"bob@bücher.example", `"a\" b"@example.com`}, Count: 12,
		Text:         "550 5.1.1 no such user \x00 'quoted'; %s <&> \u2028 🙂",
		Submission:   &journal.Submission{Size: 1 << 40, Body: "8BITMIME", EnvelopeID: "x", Priority: -3, RemoteIP: "2001:db8::1", Helo: "[192.0.2.1]", ClientTLS: "TLS 1.3", Mechanism: "PLAIN", Session: "s1", Policies: []string{"a", "b"}, Bounce: true},
		Visit:        &journal.Visit{Route: "r", Lane: "l", Attempt: 3, Host: "mx", Address: "192.0.2.2:25", TLS: "t", Answer: "550 no", HopID: "4X", Code: 550, Status: "5.1.1", Duration: 3 * time.Second, Next: spoolNoon, Copy: "archive"},
		Notification: "N1", By: "root", Moment: "RCPT", Reply: "550", Policy: "p",
	}
	many := fact(journal.Accepted, "Q2")
	for i := range 1000 {
		many.Recipients = append(many.Recipients, fmt.Sprintf("user%04d@example.com", i))
	}
	s.journal()
	a := spoolAccept("Q1", spoolNoon)
	a.Facts = []journal.Fact{whole, many}
	s.commit(a, "", nil)
	for range 2 {
		facts, _ := follow(s, s.journal(), "")
		if len(facts) != 2 || facts[0].Position == "" || facts[0].Position == facts[1].Position {
			s.Fatalf("%d facts", len(facts))
		}
		for i, want := range []journal.Fact{whole, many} {
			facts[i].Position = ""
			if got, want := asJSON(s, facts[i]), asJSON(s, want); got != want {
				s.Errorf("%s, wanted %s", got, want)
			}
		}
		s.wantTold(journal.Query{Recipient: "USER0999@example.com"}, "accepted Q2")
		s.reopen()
	}
}

// However many write, nothing appears before what was returned, and each fact once: those of a message in their order.
func (s *spoolTest) testJournalFollow() {
	s.journal()
	testFollow(s.T, s.journal(), []*spoolTest{s, s, s, s})
}

func testFollow(t *testing.T, j journal.Journal, writers []*spoolTest) {
	const each = 25
	var wg sync.WaitGroup
	for w, n := range writers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("W%dx%02d", w, i)
				d, err := n.Create(background)
				if err != nil {
					t.Error(err)
					return
				}
				a := withFacts(id, journal.Accepted)
				a.Held = "for the operator"
				if err := d.Commit(background, a); err != nil {
					t.Error(err)
				}
				for _, what := range []journal.Kind{journal.Held, journal.Released} {
					if _, err := n.Change(background, id, func(m *queue.EntryView) error {
						m.Facts = []journal.Fact{fact(what, id), fact(journal.Retried, id)}
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
				if _, err := n.Delete(background, id, fact(journal.Deleted, id)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var seen []journal.Fact
	var at journal.Position
	for last, until := false, time.Now().Add(5*time.Minute); time.Now().Before(until); time.Sleep(time.Millisecond) {
		var more []journal.Fact
		more, at = follow(t, j, at)
		seen = append(seen, more...)
		if last && len(more) == 0 || t.Failed() {
			break
		}
		select {
		case <-done:
			last = true
		default:
		}
	}
	<-done
	again, _ := follow(t, j, "")
	if len(again) != len(seen) {
		t.Errorf("%d facts were told, and %d are there", len(seen), len(again))
	}
	of := make(map[string][]string)
	for i := range min(len(seen), len(again)) {
		if seen[i].Position != again[i].Position {
			t.Fatalf("fact %d was %s %s, and is %s %s", i, seen[i].What, seen[i].ID, again[i].What, again[i].ID)
		}
		of[seen[i].ID] = append(of[seen[i].ID], string(seen[i].What))
	}
	if len(of) != len(writers)*each {
		t.Errorf("facts of %d messages, wanted %d", len(of), len(writers)*each)
	}
	for id, facts := range of {
		if got := strings.Join(facts, " "); got != "accepted held retried released retried deleted" {
			t.Errorf("%s: %s", id, got)
		}
	}
}

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
	add(journal.Accepted, "Q1", 4*time.Hour, func(f *journal.Fact) { f.User = "Alice@Example.org"; f.Sender = "Alice@EXAMPLE.org" })
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
