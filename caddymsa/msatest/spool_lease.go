package msatest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func (s *spoolTest) testExclusive() {
	const entries, workers = 50, 8
	for i := range entries {
		s.commit(spoolAccept(fmt.Sprintf("Q%02d", i), spoolNoon), "", nil)
	}
	var mu sync.Mutex
	seen := make(map[string]int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				l, _, err := s.Lease(background, spoolNoon, queue.Want{})
				if err != nil {
					return
				}
				mu.Lock()
				seen[l.Entry().ID]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != entries {
		s.Errorf("%d of %d entries were leased", len(seen), entries)
	}
	for id, n := range seen {
		if n != 1 {
			s.Errorf("%s was leased %d times at once", id, n)
		}
	}
	s.reopen() // as if the process had died with all of them leased
	if id := s.lease(spoolNoon).Entry().ID; id != "Q00" {
		s.Errorf("after a restart %s came first", id)
	}
}

func (s *spoolTest) testRecord() {
	s.commit(spoolAccept("Q1", spoolNoon), "H: 1\r\n", []byte("text"))
	l := s.lease(spoolNoon)
	j := l.Job()
	j.Recipients[0].State = queue.Delivered
	j.Recipients[1].Error, j.Recipients[1].Code, j.Recipients[1].Status, j.Recipients[1].RemoteMTA = "later", 451, "4.2.0", "mx.example.com"
	j.Attempts, j.Tried, j.Due, j.Deadline = 1, spoolNoon, spoolNoon.Add(time.Minute), spoolNoon.Add(time.Hour)
	j.Lane, j.Stamp, j.Warned, j.Last = "relay/a", "1-a", true, true
	j.History = []queue.Event{{Time: spoolNoon, What: "delivered", To: queue.Indexes{0}, Answer: queue.Answer{ID: "4X"}}}
	want := j.Clone()
	s.record(l, &queue.Record{At: spoolNoon, Jobs: []queue.Job{*j}, Events: []queue.Event{{Time: spoolNoon, What: "noted"}}})
	l.Release() // does nothing now
	for _, again := range []bool{false, true} {
		if again {
			s.reopen()
		}
		s.none(spoolNoon, spoolNoon.Add(time.Minute))
		l = s.lease(spoolNoon.Add(time.Minute))
		if got := l.Job(); !sameJob(got, want) {
			s.Errorf("job\n%+v, wanted\n%+v", got, want)
		}
		if st := l.Status(); len(st.History) != 1 || st.History[0].What != "noted" {
			s.Errorf("status %+v", st)
		}
		if got := string(s.message(l)); got != "H: 1\r\ntext" {
			s.Errorf("message %q", got)
		}
		s.none(spoolNoon.Add(time.Minute), time.Time{})
		l.Release()
	}
}

// Jobs of one message run side by side; who ends the last one ends it.
func (s *spoolTest) testJobs() {
	for _, again := range []bool{false, true} {
		s.commit(inLanes("Q1", spoolNoon, "a", "b", "c"), "", []byte("text"))
		_, leases := s.leaseAll(spoolNoon)
		if len(leases) != 3 {
			s.Fatalf("%d jobs leased", len(leases))
		}
		byLane := make(map[string]queue.Lease)
		for _, l := range leases {
			j := l.Job()
			if len(j.Recipients) != 1 || j.Recipients[0].Address != "bob@"+j.Lane {
				s.Errorf("job %+v", j)
			}
			byLane[j.Lane] = l
		}
		s.record(byLane["b"], deferred(byLane["b"], spoolNoon.Add(time.Hour)))
		s.record(byLane["a"], delivered(byLane["a"]))
		m := s.get("Q1")
		if got := m.Recipients(); got[0].State != queue.Delivered || got[1].Code != 451 || got[2].State != queue.Pending || m.InFlight() != 1 || m.Open() != 2 {
			s.Errorf("message %+v", m)
		}
		if again { // a crash between two Records of one entry
			s.reopen()
			l := s.lease(spoolNoon)
			if l.Job().Lane != "c" {
				s.Fatalf("job %+v", l.Job())
			}
			byLane["c"] = l
		}
		s.record(byLane["c"], as(byLane["c"], queue.Failed))
		s.none(spoolNoon, spoolNoon.Add(time.Hour))
		l := s.lease(spoolNoon.Add(time.Hour))
		s.record(l, delivered(l))
		s.wantIDs()
	}
}

// A job can become several.
func (s *spoolTest) testSplit() {
	s.commit(spoolAccept("Q1", spoolNoon), "", []byte("text"))
	l := s.lease(spoolNoon)
	one, two := l.Job().Clone(), l.Job().Clone()
	one.Recipients, two.Recipients = one.Recipients[:1], two.Recipients[1:]
	one.Lane, two.Lane, two.Number, two.Due = "a", "b", 0, spoolNoon.Add(time.Minute)
	s.record(l, &queue.Record{At: spoolNoon, Jobs: []queue.Job{*one, *two}})
	for _, again := range []bool{false, true} {
		if again {
			s.reopen()
		}
		got, leases := s.leaseAll(spoolNoon.Add(time.Hour))
		if !slices.Equal(got, []string{"Q1", "Q1"}) || leases[0].Job().Number == leases[1].Job().Number || leases[0].Job().Lane == leases[1].Job().Lane {
			s.Fatalf("leased %q", got)
		}
		for _, l := range leases {
			if len(l.Job().Recipients) != 1 || string(s.message(l)) != "text" {
				s.Errorf("job %+v", l.Job())
			}
			if again {
				s.record(l, delivered(l))
			} else {
				l.Release()
			}
		}
	}
	s.wantIDs()
}

func (s *spoolTest) testRecordDeletes() {
	for i, size := range []int{10, 400 << 10} {
		id := fmt.Sprintf("Q%d", i)
		s.commit(spoolAccept(id, spoolNoon), "", spoolBody(i, size))
		l := s.lease(spoolNoon)
		r, err := l.Open(background)
		if err != nil {
			s.Fatal(err)
		}
		rec := delivered(l)
		rec.Jobs[0].Recipients[1].State = queue.Failed
		s.record(l, rec)
		r.Close()
		s.wantIDs()
		if _, err := s.Get(background, id); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("Get: %v, wanted ErrNotFound", err)
		}
		if _, err := s.Change(background, id, func(*queue.EntryView) error { return nil }); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("Change: %v, wanted ErrNotFound", err)
		}
		if _, err := s.Delete(background, id); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("Delete: %v, wanted ErrNotFound", err)
		}
	}
	if n, octets, err := s.Size(background); n != 0 || octets != 0 || err != nil {
		s.Errorf("size %d, %d, %v", n, octets, err)
	}
	s.reopen()
	s.wantIDs()
	s.none(spoolNoon.Add(time.Hour), time.Time{})
}

func (s *spoolTest) testRecordTwice() {
	s.commit(spoolAccept("Q1", spoolNoon), "", nil)
	l := s.lease(spoolNoon)
	s.record(l, deferred(l, spoolNoon.Add(time.Minute)))
	if err := l.Record(background, delivered(l)); !errors.Is(err, queue.ErrLeaseEnded) {
		s.Errorf("a second Record: %v", err)
	}
	l = s.lease(spoolNoon.Add(time.Minute))
	l.Release()
	if err := l.Record(background, delivered(l)); !errors.Is(err, queue.ErrLeaseEnded) {
		s.Errorf("Record after Release: %v", err)
	}
	s.wantIDs("Q1")
}

func (s *spoolTest) testRelease() {
	s.commit(spoolAccept("Q1", spoolNoon), "", nil)
	l := s.lease(spoolNoon)
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	l.Job().Attempts = 7 // is not stored
	l.Release()
	l.Release()
	if l := s.lease(spoolNoon); l.Entry().ID != "Q1" || l.Job().Attempts != 0 {
		s.Errorf("released as %+v", l.Job())
	}
	s.none(spoolNoon, time.Time{})
}
