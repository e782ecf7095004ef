package spoolfile

import (
	"errors"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What the sender was to be told may be taken back between the moment at which that is taken up and the one at which it
// is read: that does not keep the message from being delivered.
func TestNotesTakenBack(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d, err := s.Create(background)
	if err != nil {
		t.Fatal(err)
	}
	a := testAccept("Q1")
	a.Entry.Recipients = []queue.Recipient{{Address: "a@a.example"}, {Address: "b@b.example"}}
	a.Jobs = []queue.Job{queue.NewJob(a.Entry), queue.NewJob(a.Entry)}
	for i := range a.Jobs {
		j := &a.Jobs[i]
		j.Number, j.Recipients = i+1, j.Recipients[i:i+1]
	}
	if err := d.Commit(background, a); err != nil {
		t.Fatal(err)
	}
	lease := func(at time.Time) queue.Lease {
		t.Helper()
		l, _, err := s.Lease(background, at, queue.Want{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	record := func(l queue.Lease, state queue.State, due time.Time, notes ...queue.Note) {
		t.Helper()
		j := l.Job().Clone()
		j.Due, j.Recipients[0].State = due, state
		if err := l.Record(background, &queue.Record{At: noon, Jobs: []queue.Job{*j}, Notes: notes}); err != nil {
			t.Fatal(err)
		}
	}
	first, second := lease(noon), lease(noon)
	record(first, queue.Pending, noon.Add(time.Minute), queue.Note{Time: noon, Action: dsn.Delayed, To: queue.Indexes{first.Job().Recipients[0].Index}})
	record(second, queue.Pending, noon.Add(time.Hour))
	taken, _ := s.schedule.take(noon, queue.Want{})
	if taken == nil || taken.number != 0 {
		t.Fatalf("taken %+v", taken)
	}
	record(lease(noon.Add(time.Minute)), queue.Delivered, noon)
	_, err = s.lease(taken)
	if !errors.Is(err, queue.ErrNotFound) {
		t.Fatalf("leased: %v", err)
	}
	s.unleased(taken, err, noon)
	if m, err := s.Get(background, "Q1"); err != nil || m.Status.Held != "" {
		t.Errorf("%+v, %v", m, err)
	}
	record(lease(noon.Add(time.Hour)), queue.Delivered, noon)
	wantEntries(t, s)
}
