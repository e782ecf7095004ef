package msatest

import (
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// testTally has messages become held and dead letters, and others again.
func (s *spoolTest) testTally() {
	if _, ok := s.OpenSpool.(queue.Tallier); !ok {
		s.Skip("the spool does not count by state")
	}
	want := func(what string, held, dead int, next time.Time) {
		s.Helper()
		got, err := s.OpenSpool.(queue.Tallier).Tally(background)
		if err != nil || got.Held != held || got.Dead != dead || !got.Next.Equal(next) && (got.Next.IsZero() || next.IsZero() || next.After(spoolNoon)) {
			s.Errorf("%s: %+v, %v; want %d held, %d dead, next %v", what, got, err, held, dead, next)
		}
	}
	soon := spoolNoon.Add(time.Hour)
	want("an empty spool", 0, 0, time.Time{})
	s.commit(spoolAccept("Q1", soon), "", []byte("body"))
	want("one that waits", 0, 0, soon)
	held := spoolAccept("Q2", spoolNoon)
	held.Held = "a policy"
	s.commit(held, "", []byte("body"))
	want("one is held", 1, 0, soon)
	s.change("Q1", func(m *queue.EntryView) { m.Status.Held = "the operator" })
	want("both are held", 2, 0, time.Time{})
	s.change("Q2", func(m *queue.EntryView) { m.Status.Held = "" })
	want("one is released", 1, 0, spoolNoon)
	l := s.lease(spoolNoon)
	r := as(l, queue.Failed)
	r.Keep = spoolNoon.Add(2 * time.Hour)
	s.record(l, r)
	want("one failed and is kept", 1, 1, r.Keep)
	s.reopen()
	want("opened again", 1, 1, r.Keep)
	s.record(s.lease(r.Keep), &queue.Record{At: r.Keep, Remove: true})
	want("the dead letter is buried", 1, 0, time.Time{})
	if _, err := s.Delete(background, "Q1"); err != nil {
		s.Fatal(err)
	}
	want("nothing is left", 0, 0, time.Time{})
}
