package msatest

import (
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// withCopy is a message with a job of its recipients, and one of a copy that has them all again.
func withCopy(id string) *queue.Accept {
	a := inLane(id, "alice", "relay/mx.example.net", spoolNoon)
	j := queue.NewJob(a.Entry)
	j.Number, j.Copy, j.Lane, j.Stamp, j.Due = 2, "archive", "archive/store", "1-a", spoolNoon
	a.Jobs = append(a.Jobs, j)
	return a
}

// ofCopy leases both jobs of a message and tells which is the copy's.
func (s *spoolTest) ofCopy() (deliver, copied queue.Lease) {
	s.Helper()
	_, leases := s.leaseAll(spoolNoon)
	if len(leases) != 2 {
		s.Fatalf("%d jobs leased", len(leases))
	}
	deliver, copied = leases[0], leases[1]
	if deliver.Job().Copy != "" {
		deliver, copied = copied, deliver
	}
	if deliver.Job().Copy != "" || copied.Job().Copy != "archive" || len(copied.Job().Recipients) != 2 || copied.Job().Lane != "archive/store" {
		s.Fatalf("jobs %+v and %+v", deliver.Job(), copied.Job())
	}
	return deliver, copied
}

// What becomes of a copy is not what becomes of the recipients, and the message stays as long as one of the two is
// open, whichever that is.
func (s *spoolTest) testCopies() {
	for _, again := range []bool{false, true} {
		for _, first := range []bool{false, true} {
			s.commit(withCopy("Q1"), "H\r\n", []byte("text"))
			if again {
				s.reopen()
			}
			deliver, copied := s.ofCopy()
			one, two := deliver, copied
			if first {
				one, two = copied, deliver
			}
			s.record(one, delivered(one))
			m := s.get("Q1")
			if fate := m.Recipients(); m.Open() != 1 || m.OnlyCopies() == first || (fate[0].State == queue.Delivered) == first {
				s.Errorf("message %+v", m)
			}
			if got := string(s.message(two)); got != "H\r\ntext" {
				s.Errorf("message %q", got)
			}
			s.record(two, deferred(two, spoolNoon.Add(time.Hour)))
			if again {
				s.reopen()
			}
			s.none(spoolNoon, spoolNoon.Add(time.Hour))
			l := s.lease(spoolNoon.Add(time.Hour))
			if (l.Job().Copy == "archive") == first || l.Job().Attempts != 1 {
				s.Errorf("job %+v", l.Job())
			}
			s.record(l, delivered(l))
			s.wantIDs()
		}
	}
}

// What the sender is to be told does not wait for a copy, nor is the notification the end of it.
func (s *spoolTest) testCopyNotes() {
	for _, again := range []bool{false, true} {
		s.commit(withCopy("Q1"), "", []byte("text"))
		deliver, copied := s.ofCopy()
		s.record(copied, deferred(copied, spoolNoon.Add(time.Hour)))
		r := as(deliver, queue.Failed)
		r.Notes = []queue.Note{{Time: spoolNoon, Action: dsn.Failed, To: queue.Indexes{0, 1}}}
		r.NotesDue = spoolNoon.Add(time.Minute)
		s.record(deliver, r)
		if again {
			s.reopen()
		}
		l := s.lease(spoolNoon)
		if l.Job().Kind != queue.Notify {
			s.Fatalf("job %+v", l.Job())
		}
		s.record(l, &queue.Record{At: spoolNoon, Told: l.Status().Notes[0].Seq})
		s.none(spoolNoon, spoolNoon.Add(time.Hour))
		l = s.lease(spoolNoon.Add(time.Hour))
		if l.Job().Copy != "archive" {
			s.Errorf("job %+v", l.Job())
		}
		s.record(l, delivered(l))
		s.wantIDs()
	}
}

// The operator who gives a message up or has it go elsewhere means its recipients: a copy under way goes on as it was.
func (s *spoolTest) testCopyInFlight() {
	s.commit(withCopy("Q1"), "", []byte("text"))
	deliver, copied := s.ofCopy()
	s.change("Q1", func(m *queue.EntryView) {
		m.Status.GivenUp, m.Status.GivenUpAt, m.Status.Rerouted = "enough", spoolNoon, "other.example.org"
	})
	s.record(copied, deferred(copied, spoolNoon.Add(time.Hour)))
	s.record(deliver, deferred(deliver, spoolNoon.Add(time.Hour)))
	l := s.lease(spoolNoon)
	if l.Job().Copy != "" || l.Job().Lane != "" {
		s.Errorf("job %+v", l.Job())
	}
	s.record(l, as(l, queue.Failed))
	s.none(spoolNoon, spoolNoon.Add(time.Hour))
	for _, j := range s.get("Q1").Jobs {
		if j.Copy != "" && (j.Lane != "archive/store" || !j.Deadline.IsZero() || !j.Pending()) {
			s.Errorf("job %+v", j)
		}
	}
	s.reopen()
	l = s.lease(spoolNoon.Add(time.Hour))
	s.record(l, delivered(l))
	s.wantIDs()
}
