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
		Submission:   &journal.Submission{Size: 1 << 40, Body: "8BITMIME", EnvelopeID: "x", Priority: -3, RemoteIP: "2001:db8::1", Helo: "[192.0.2.1]", ClientTLS: "TLS 1.3", Mechanism: "PLAIN", AppPassword: "phone", Session: "s1", Policies: []string{"a", "b"}, Bounce: true},
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
