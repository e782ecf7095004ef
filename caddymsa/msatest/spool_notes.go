package msatest

import (
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What the sender of a message is told, and what is kept of it afterwards.

func failedNote(i int) queue.Note {
	return queue.Note{Time: spoolNoon, Action: dsn.Failed, To: queue.Indexes{i}, Fate: queue.Fate{Error: "550 5.1.1 no", Code: 550, Status: "5.1.1"}}
}

// notification is a message to be committed with a record.
func (s *spoolTest) notification(id string) queue.MessageDraft {
	s.Helper()
	d, err := s.Create(queue.AsNotification(background))
	if err != nil {
		s.Fatal(err)
	}
	if _, err := d.Write([]byte("told")); err != nil {
		s.Fatal(err)
	}
	a := spoolAccept(id, spoolNoon)
	a.Entry.Bounce, a.Entry.Sender, a.Entry.User = true, "", ""
	return queue.MessageDraft{Draft: d, Accept: *a}
}

// What the sender is to be told keeps the entry; the notification and the mark that it was told
// are one commit.
func (s *spoolTest) testNotes() {
	for _, again := range []bool{false, true} {
		s.commit(inLanes("Q1", spoolNoon, "a", "b"), "", []byte("text"))
		_, leases := s.leaseAll(spoolNoon)
		for _, l := range leases {
			r := as(l, queue.Failed)
			r.Notes, r.NotesDue = []queue.Note{failedNote(l.Job().Recipients[0].Index)}, spoolNoon.Add(2*time.Minute)
			s.record(l, r)
		}
		if again {
			s.reopen()
		}
		l := s.lease(spoolNoon) // at once, since no job is left
		if l.Job().Kind != queue.Notify || len(l.Status().Notes) != 2 || l.Status().Notes[0].Code != 550 || string(s.message(l)) != "text" {
			s.Fatalf("job %+v, status %+v", l.Job(), l.Status())
		}
		s.none(spoolNoon.Add(time.Hour), time.Time{})
		s.record(l, &queue.Record{At: spoolNoon, Told: l.Status().Notes[1].Seq, Messages: []queue.MessageDraft{s.notification("B1")}})
		s.wantIDs("B1")
		if again {
			s.reopen()
			s.wantIDs("B1")
		}
		l = s.lease(spoolNoon)
		if got := string(s.message(l)); got != "told" {
			s.Errorf("notification %q", got)
		}
		s.record(l, delivered(l))
		s.wantIDs()
	}
}

// Notes wait for more of them while other jobs go on, and no longer than they said.
func (s *spoolTest) testNotesWait() {
	a := inLanes("Q1", spoolNoon, "a", "b")
	a.Jobs[1].Due = spoolNoon.Add(time.Hour)
	s.commit(a, "", nil)
	l := s.lease(spoolNoon)
	r := as(l, queue.Failed)
	r.Notes, r.NotesDue = []queue.Note{failedNote(0)}, spoolNoon.Add(2*time.Minute)
	s.record(l, r)
	s.none(spoolNoon, spoolNoon.Add(2*time.Minute))
	l = s.lease(spoolNoon.Add(2 * time.Minute))
	first := l.Status().Notes[0].Seq
	// More comes while the first are told.
	other := s.lease(spoolNoon.Add(time.Hour))
	if other.Job().Kind != queue.Deliver {
		s.Fatalf("job %+v", other.Job())
	}
	r = as(other, queue.Failed)
	r.Notes, r.NotesDue = []queue.Note{failedNote(1)}, spoolNoon.Add(2*time.Hour)
	s.record(other, r)
	s.record(l, &queue.Record{At: spoolNoon, Told: first, Messages: []queue.MessageDraft{s.notification("B1")}})
	s.wantIDs("B1", "Q1")
	_, leases := s.leaseAll(spoolNoon.Add(time.Hour))
	for _, l := range leases {
		if l.Entry().ID == "B1" {
			s.record(l, delivered(l))
			continue
		}
		if n := l.Status().Notes; l.Job().Kind != queue.Notify || len(n) != 1 || n[0].To[0] != 1 {
			s.Fatalf("job %+v, status %+v", l.Job(), l.Status())
		}
		s.record(l, &queue.Record{At: spoolNoon, Told: l.Status().Notes[0].Seq})
	}
	s.wantIDs()
}

// Nobody is told of a delay that is over before it is told.
func (s *spoolTest) testDelayOver() {
	s.commit(inLanes("Q1", spoolNoon, "a", "b"), "", nil)
	_, leases := s.leaseAll(spoolNoon)
	for i, l := range leases {
		r := deferred(l, spoolNoon.Add(time.Duration(1+i)*time.Minute))
		r.Notes = []queue.Note{{Time: spoolNoon, Action: dsn.Delayed, To: queue.Indexes{l.Job().Recipients[0].Index}}}
		r.NotesDue = spoolNoon.Add(10 * time.Minute)
		s.record(l, r)
	}
	l := s.lease(spoolNoon.Add(time.Minute))
	s.record(l, delivered(l))
	if n := s.get("Q1").Status.Notes; len(n) != 1 || len(n[0].To) != 1 || n[0].To[0] == l.Job().Recipients[0].Index {
		s.Errorf("what is still to be told: %+v", n)
	}
	told := s.lease(spoolNoon.Add(10 * time.Minute))
	if told.Job().Kind == queue.Notify { // it was its turn before the job
		l = s.lease(spoolNoon.Add(10 * time.Minute))
	} else {
		l, told = told, s.lease(spoolNoon.Add(10*time.Minute))
	}
	s.record(l, delivered(l))
	s.wantIDs()
	s.record(told, &queue.Record{At: spoolNoon, Told: 2, Messages: []queue.MessageDraft{s.notification("B1")}})
	s.wantIDs()
}

// An entry of which nothing is pending stays while it is a dead letter.
func (s *spoolTest) testDeadLetter() {
	s.commit(spoolAccept("Q1", spoolNoon), "", []byte("body"))
	l := s.lease(spoolNoon)
	r := as(l, queue.Failed)
	r.Keep = spoolNoon.Add(time.Hour)
	s.record(l, r)
	s.none(spoolNoon.Add(time.Minute), spoolNoon.Add(time.Hour))
	s.reopen()
	s.none(spoolNoon.Add(time.Minute), spoolNoon.Add(time.Hour))
	if m := s.get("Q1"); !m.DeadLetter() || m.Recipients()[0].State != queue.Failed {
		s.Errorf("message %+v", m)
	}
	l = s.lease(spoolNoon.Add(time.Hour))
	if l.Job().Kind != queue.Bury || string(s.message(l)) != "body" {
		s.Errorf("job %+v", l.Job())
	}
	s.record(l, &queue.Record{At: spoolNoon, Remove: true})
	s.wantIDs()
}
