package msatest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func asJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *spoolTest) stat() journal.Stat {
	s.Helper()
	stat, err := s.journal().Stat(background)
	if err != nil {
		s.Fatalf("Stat: %v", err)
	}
	return stat
}

// addFacts has so many facts of a message, of so long ago, each of about 1,000 octets.
func (s *spoolTest) addFacts(id string, n int, ago time.Duration) {
	s.Helper()
	if _, err := s.Get(background, id); err != nil {
		s.commit(spoolAccept(id, spoolNoon), "", nil)
	}
	s.change(id, func(m *queue.EntryView) {
		for range n {
			f := fact(journal.Deferred, id)
			f.Time, f.Text = time.Now().Add(-ago), strings.Repeat("x", 900)
			m.Facts = append(m.Facts, f)
		}
	})
}

// What is older than is kept, or more, is forgotten; where no limit was set nothing is.
func (s *spoolTest) testJournalLimits() {
	s.journal()
	s.addFacts("Q1", 10, 100*24*time.Hour)
	s.addFacts("Q2", 10, 0)
	if stat := s.stat(); stat.Facts != 20 || stat.Octets < 20_000 || time.Since(stat.Oldest) < 99*24*time.Hour {
		s.Errorf("%+v", stat)
	}
	s.reopen()
	if stat := s.stat(); stat.Facts != 20 {
		s.Errorf("%+v", stat)
	}
	s.journal().SetLimits(journal.Limits{Keep: journal.DefaultKeep, MaxSize: journal.DefaultMaxSize})
	s.eventually("what is too old is forgotten", func() bool { return s.stat().Facts == 10 })
	if got := s.told(journal.Query{ID: "Q1"}); len(got) != 0 {
		s.Errorf("%d are still found", len(got))
	}
	if got := s.told(journal.Query{ID: "Q2"}); len(got) != 10 {
		s.Errorf("%d of 10 are found", len(got))
	}
	if facts, _ := follow(s, s.journal(), ""); len(facts) != 10 {
		s.Errorf("%d of 10 follow", len(facts))
	}
	if time.Since(s.stat().Oldest) > time.Hour {
		s.Errorf("%+v", s.stat())
	}

	// By their size.
	const size = 200_000
	s.journal().SetLimits(journal.Limits{MaxSize: size})
	for i := range 40 {
		s.addFacts(fmt.Sprint("R", i), 10, 0)
	}
	s.eventually("what is too much is forgotten", func() bool { return s.stat().Octets <= size })
	if got := s.told(journal.Query{ID: "R39"}); len(got) != 10 {
		s.Errorf("of the latest %d of 10 are found", len(got))
	}
	if got := s.told(journal.Query{ID: "Q2"}); len(got) != 0 {
		s.Errorf("of the oldest %d are found", len(got))
	}
	if stat := s.stat(); stat.Facts < 50 {
		s.Errorf("too much was forgotten: %+v", stat)
	}

	// Nothing new is kept; what there is stays.
	s.journal().SetLimits(journal.Limits{Off: true})
	before := s.stat().Facts
	s.addFacts("S1", 10, 0)
	s.commit(withFacts("S2", journal.Accepted), "", nil)
	l := s.lease(spoolNoon)
	r := delivered(l)
	r.Facts = []journal.Fact{fact(journal.Delivered, "S3")}
	s.record(l, r)
	if _, err := s.Delete(background, "S2", fact(journal.Deleted, "S2")); err != nil {
		s.Error(err)
	}
	s.journal().Note(journal.Fact{Time: time.Now(), What: journal.Refused, User: "alice"})
	if after := s.stat(); after.Facts != before {
		s.Errorf("%d facts came although it is off", after.Facts-before)
	}
	s.journal().SetLimits(journal.Limits{})
	s.commit(withFacts("S4", journal.Accepted), "", nil)
	s.wantTold(journal.Query{ID: "S4"}, "accepted S4")
}

// Cursors are durable, and what a follower has not heard of is kept for it beyond the limits, as far as twice the size.
func (s *spoolTest) testJournalCursors() {
	s.journal()
	at := func(name string, want journal.Position) {
		s.Helper()
		if got, err := s.journal().Cursor(background, name); got != want || err != nil {
			s.Fatalf("%s is at %q, %v; wanted %q", name, got, err, want)
		}
	}
	set := func(name string, p journal.Position) {
		s.Helper()
		if err := s.journal().SetCursor(background, name, p); err != nil {
			s.Fatal(err)
		}
		at(name, p)
	}
	at("hook", "")
	begin := s.stat().End
	if begin == "" {
		s.Fatal("the end of a journal without facts is empty: who begins there cannot be told from who has not begun")
	}
	if err := s.journal().SetCursor(background, "hook", begin); err != nil {
		s.Fatal(err)
	}
	s.reopen()
	if p, err := s.journal().Cursor(background, "hook"); p == "" || err != nil {
		s.Fatalf("who has begun at the start is at %q, %v", p, err)
	}
	s.addFacts("Q1", 10, 100*24*time.Hour)
	if facts, _ := follow(s, s.journal(), begin); len(facts) != 10 {
		s.Fatalf("%d facts follow the start", len(facts))
	}
	s.addFacts("Q2", 10, 0)
	facts, end := follow(s, s.journal(), "")
	if len(facts) != 20 {
		s.Fatalf("%d facts", len(facts))
	}
	if got := s.stat().End; got != end {
		s.Errorf("the end is %q, wanted %q", got, end)
	}
	set("hook", facts[4].Position)
	set("other", facts[19].Position)
	if err := s.journal().SetCursor(background, "other", "somewhere else"); err == nil {
		s.Error("a cursor in another journal")
	}
	s.reopen()
	at("hook", facts[4].Position)
	at("other", facts[19].Position)
	if l, ok := s.OpenSpool.(journal.CursorLister); ok {
		names, err := l.CursorNames(background, "ho")
		if err != nil || !slices.Equal(names, []string{"hook"}) {
			s.Errorf("cursors %q, %v", names, err)
		}
	}
	s.journal().SetLimits(journal.Limits{Keep: time.Hour})
	s.eventually("what the follower has heard of is forgotten", func() bool { return s.stat().Facts == 15 })
	rest, _ := follow(s, s.journal(), facts[4].Position)
	if len(rest) != 15 || rest[0].Position != facts[5].Position {
		s.Fatalf("%d facts follow", len(rest))
	}
	set("hook", facts[6].Position)
	s.eventually("what it hears of is forgotten", func() bool { return s.stat().Facts == 13 })
	if err := s.journal().DropCursor(background, "hook"); err != nil {
		s.Fatal(err)
	}
	at("hook", "")
	s.eventually("what nobody waits for is forgotten", func() bool { return s.stat().Facts == 10 })
	s.reopen()
	at("hook", "")
	at("other", facts[19].Position)
	if again, _ := follow(s, s.journal(), facts[19].Position); len(again) != 0 {
		s.Errorf("%d facts after the last", len(again))
	}

	// A follower that never comes does not have the journal grow for good.
	const size = 50_000
	s.journal().SetLimits(journal.Limits{MaxSize: size})
	for i := range 20 {
		s.addFacts(fmt.Sprint("R", i), 10, 0)
	}
	s.eventually("it is bounded", func() bool { return s.stat().Octets <= 2*size })
	s.addFacts("R", 1, 0)
	if stat := s.stat(); stat.Octets < size {
		s.Errorf("too much was forgotten: %+v", stat)
	}
	if facts, _ := follow(s, s.journal(), facts[19].Position); len(facts) == 0 || facts[len(facts)-1].ID != "R" {
		s.Errorf("%d facts follow", len(facts))
	}
	set("other", s.stat().End)
	s.eventually("it has room again", func() bool { return s.stat().Octets <= size })
}

// Refusals are kept without a commit, within bounds.
func (s *spoolTest) testJournalNotes() {
	j := s.journal()
	note := journal.Fact{Time: time.Now(), What: journal.Refused, User: "Alice", Moment: "RCPT", Reply: "550 no", Policy: "recipients", Text: "bob@example.net"}
	j.Note(note, note)
	s.eventually("they are found", func() bool { return len(s.told(journal.Query{User: "alice"})) == 2 })
	s.eventually("they follow", func() bool { facts, _ := follow(s, j, ""); return len(facts) == 2 })
	j.Note(note)
	s.reopen()
	j = s.journal()
	s.eventually("what was noted before it was closed is there", func() bool { return len(s.told(journal.Query{User: "alice"})) == 3 })
	before := s.stat()
	j.SetLimits(journal.Limits{Keep: time.Hour, MaxSize: 1 << 20}) // a tenth of a tenth at once
	const many = 20_000
	began := time.Now()
	for range many {
		j.Note(note)
	}
	if took := time.Since(began); took > 10*time.Second {
		s.Errorf("Note took %v", took/many)
	}
	s.eventually("each is kept or counted", func() bool {
		stat := s.stat()
		return stat.Facts-before.Facts+stat.Dropped-before.Dropped == many
	})
	if kept := s.stat().Facts - before.Facts; kept < 1 || kept > 1000 {
		s.Errorf("%d were kept", kept)
	}
	s.commit(withFacts("Q1", journal.Accepted), "", nil)
	s.wantTold(journal.Query{ID: "Q1"}, "accepted Q1")
}

// What one node does the others read, in one order.
func (s *sharedTest) testJournal() {
	s.one.journal()
	testFollow(s.one.T, s.two.journal(), []*spoolTest{s.one, s.two, s.one, s.two})

	_, end := follow(s.one, s.two.journal(), "")
	s.one.commit(withFacts("Q1", journal.Accepted), "", nil)
	l := s.one.lease(spoolNoon)
	s.Cut(s.one.OpenSpool)
	again := s.two.lease(spoolNoon)
	r := deferred(again, spoolNoon.Add(time.Hour))
	r.Facts = []journal.Fact{fact(journal.Deferred, "Q1")}
	s.two.record(again, r)
	s.Heal(s.one.OpenSpool)
	r = delivered(l)
	r.Facts = []journal.Fact{fact(journal.Delivered, "Q1")}
	if err := l.Record(background, r); err == nil {
		s.one.Error("Record of a lost lease")
	}
	for _, n := range []*spoolTest{s.one, s.two} {
		n.wantTold(journal.Query{ID: "Q1"}, "accepted Q1", "deferred Q1")
	}
	if err := s.one.journal().SetCursor(background, "hook", end); err != nil {
		s.one.Fatal(err)
	}
	if got, err := s.two.journal().Cursor(background, "hook"); got != end || err != nil {
		s.one.Errorf("the cursor is at %q, %v", got, err)
	}
}

// One node at a time acts for a follower, and another when the first is gone.
func (s *sharedTest) testJournalClaim() {
	s.one.journal()
	one, ok := s.one.OpenSpool.(journal.Claimer)
	if !ok {
		s.one.Fatal("nodes share the journal, and it is no Claimer")
	}
	two := s.two.OpenSpool.(journal.Claimer)
	claim := func(c journal.Claimer, name string) (<-chan struct{}, func()) {
		s.one.Helper()
		lost, release, err := c.Claim(background, name)
		if err != nil {
			s.one.Fatalf("Claim: %v", err)
		}
		return lost, release
	}
	busy := func(c journal.Claimer, name string) {
		s.one.Helper()
		ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
		defer cancel()
		if _, _, err := c.Claim(ctx, name); err == nil {
			s.one.Fatal("two have it")
		}
	}
	_, release := claim(one, "hook")
	busy(two, "hook")
	busy(one, "hook")
	_, other := claim(two, "other")
	other()
	got := make(chan func(), 1)
	go func() {
		if _, release, err := two.Claim(background, "hook"); err == nil {
			got <- release
		}
	}()
	select {
	case <-got:
		s.one.Fatal("two have it")
	case <-time.After(200 * time.Millisecond):
	}
	release()
	release() // does nothing now
	select {
	case again := <-got:
		again()
	case <-time.After(time.Minute):
		s.one.Fatal("nobody got what was released")
	}
	lost, release := claim(one, "hook")
	select {
	case <-lost:
		s.one.Fatal("lost at once")
	default:
	}
	s.Cut(s.one.OpenSpool)
	<-lost
	_, second := claim(two, "hook")
	s.Heal(s.one.OpenSpool)
	release() // of what is another's
	busy(one, "hook")
	second()
	_, release = claim(one, "hook")
	if err := s.one.Close(); err != nil {
		s.one.Fatal(err)
	}
	_, second = claim(two, "hook")
	second()
	release()
}
