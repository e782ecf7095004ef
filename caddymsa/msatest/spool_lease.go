package msatest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
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

func (s *spoolTest) testReopen() {
	for i := range 40 {
		s.commit(spoolAccept(fmt.Sprintf("Q%02d", i), spoolNoon.Add(time.Duration(i))), "H\r\n", spoolBody(i, i*i*200))
	}
	for i := range 10 {
		l := s.lease(spoolNoon.Add(time.Hour))
		if i%2 == 0 {
			s.record(l, delivered(l))
		}
	}
	for range 3 {
		s.reopen()
		var want []string
		for i := range 40 {
			if i >= 10 || i%2 == 1 {
				want = append(want, fmt.Sprintf("Q%02d", i))
			}
		}
		s.wantIDs(want...)
		for _, id := range want {
			l := s.lease(spoolNoon.Add(time.Hour))
			var i int
			_, _ = fmt.Sscanf(id, "Q%d", &i)
			if l.Entry().ID != id || !bytes.Equal(s.message(l), append([]byte("H\r\n"), spoolBody(i, i*i*200)...)) {
				s.Errorf("%s came back changed", id)
			}
		}
		s.none(spoolNoon.Add(time.Hour), time.Time{})
	}
}

func (s *spoolTest) testClosed() {
	s.commit(spoolAccept("Q1", spoolNoon), "", nil)
	d, err := s.Create(background)
	if err != nil {
		s.Fatal(err)
	}
	l := s.lease(spoolNoon)
	if err := s.Close(); err != nil {
		s.Fatal(err)
	}
	for name, err := range map[string]error{
		"Create": func() error { _, err := s.Create(background); return err }(),
		"Lease":  func() error { _, _, err := s.Lease(background, spoolNoon, queue.Want{}); return err }(),
		"Commit": d.Commit(background, spoolAccept("Q2", spoolNoon)),
		"Record": l.Record(background, delivered(l)),
		"Get":    func() error { _, err := s.Get(background, "Q1"); return err }(),
		"List":   s.List(background, "", func(*queue.EntryView) bool { return true }),
		"Change": func() error {
			_, err := s.Change(background, "Q1", func(*queue.EntryView) error { return nil })
			return err
		}(),
		"Delete": func() error { _, err := s.Delete(background, "Q1"); return err }(),
		"Lanes":  s.Lanes(background, func(queue.LaneInfo) bool { return true }),
		"Size":   func() error { _, _, err := s.Size(background); return err }(),
	} {
		if !errors.Is(err, queue.ErrClosed) {
			s.Errorf("%s after Close: %v, wanted ErrClosed", name, err)
		}
	}
	s.SetLane("a", queue.LaneState{})
	l.Release()
	d.Abort()
	s.OpenSpool = s.open(s, s.dir)
	s.wantIDs("Q1")
}

func (s *spoolTest) testConcurrent() {
	// Clients, workers and an operator at once; each job is delivered once, its message whole.
	const clients, each = 8, 15
	var mu sync.Mutex
	seen := make(map[string]int)
	for _, lane := range []string{"a", "b"} {
		s.SetLane(lane, queue.LaneState{Limit: 2})
	}
	var committed, working sync.WaitGroup
	for c := range clients {
		committed.Go(func() {
			for i := range each {
				d, err := s.Create(background)
				if err != nil {
					s.Error(err)
					return
				}
				seed := c*each + i
				if _, err := d.Write(spoolBody(seed, seed*seed*11)); err != nil {
					s.Error(err)
				}
				if i%5 == 4 {
					d.Abort()
					continue
				}
				a := inLanes(fmt.Sprintf("Q%04d", seed), spoolNoon, "a", "b", "c")
				a.Header = []byte("H\r\n")
				if err := d.Commit(background, a); err != nil {
					s.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	for range 4 {
		working.Go(func() {
			for {
				l, _, err := s.Lease(background, spoolNoon, queue.Want{})
				if errors.Is(err, queue.ErrNoneDue) {
					select {
					case <-done:
						return
					default:
						continue
					}
				}
				if err != nil {
					s.Error(err)
					return
				}
				var r *queue.Record
				if l.Job().Attempts == 0 { // fails the first time
					r = deferred(l, spoolNoon)
				} else {
					var seed int
					_, _ = fmt.Sscanf(l.Entry().ID, "Q%d", &seed)
					if !bytes.Equal(s.message(l), append([]byte("H\r\n"), spoolBody(seed, seed*seed*11)...)) {
						s.Errorf("%s came back changed", l.Entry().ID)
					}
					mu.Lock()
					seen[l.Entry().ID+" "+l.Job().Lane]++
					mu.Unlock()
					r = delivered(l)
				}
				if err := l.Record(background, r); err != nil {
					s.Error(err)
				}
			}
		})
	}
	working.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				s.ids()
			}
		}
	})
	committed.Wait()
	// Whoever finds nothing due now has nothing left to wait for, once all are done.
	for {
		mu.Lock()
		n := len(seen)
		mu.Unlock()
		if n == 3*clients*each*4/5 || s.Failed() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(done)
	working.Wait()
	for id, n := range seen {
		if n != 1 {
			s.Errorf("%s was delivered %d times", id, n)
		}
	}
	s.wantIDs()
}
