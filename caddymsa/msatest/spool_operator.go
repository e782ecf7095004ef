package msatest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func (s *spoolTest) testHeld() {
	a := spoolAccept("Q0", spoolNoon)
	a.Held = "quarantined"
	s.commit(a, "", nil)
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	s.reopen()
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	s.change("Q0", func(m *queue.EntryView) {
		if m.Status.Held != "quarantined" {
			s.Errorf("message %+v", m)
		}
		m.Status.Held = ""
	})
	l := s.lease(spoolNoon)
	s.record(l, delivered(l))
	s.commit(spoolAccept("Q1", spoolNoon), "", nil)
	s.change("Q1", func(m *queue.EntryView) { m.Status.Held = "the return path leads nowhere" })
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	s.reopen()
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	if m := s.get("Q1"); m.Status.Held != "the return path leads nowhere" {
		s.Fatalf("Get: %+v", m)
	}
	s.change("Q1", func(m *queue.EntryView) { m.Status.Held = "" })
	l = s.lease(spoolNoon)
	r := as(l, queue.Pending)
	r.Hold = "by a worker"
	s.record(l, r)
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	if m := s.get("Q1"); m.Status.Held != "by a worker" {
		s.Fatalf("Get: %+v", m)
	}
}

func (s *spoolTest) testChange() {
	s.commit(spoolAccept("Q1", spoolNoon.Add(time.Hour)), "", spoolBody(1, 10))
	s.commit(spoolAccept("Q2", spoolNoon.Add(2*time.Hour)), "", spoolBody(2, 300<<10))
	if _, err := s.Get(background, "Q"); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("Get: %v, wanted ErrNotFound", err)
	}
	// Deliver now, in two lanes.
	s.change("Q2", func(m *queue.EntryView) {
		one := &m.Jobs[0]
		two := *one.Clone()
		two.Number, two.Recipients, two.Lane, two.Due = 0, two.Recipients[1:], "b", spoolNoon
		one.Recipients, one.Lane, one.Due = one.Recipients[:1], "a", spoolNoon
		m.Jobs = append(m.Jobs, two)
		m.Status.Note(spoolNoon, "rerouted", "")
	})
	got, leases := s.leaseAll(spoolNoon)
	if !slices.Equal(got, []string{"Q2", "Q2"}) || len(s.message(leases[0])) != 300<<10 {
		s.Fatalf("leased %q", got)
	}
	for _, l := range leases {
		l.Release()
	}
	// Drop.
	if n, err := s.Delete(background, "Q2"); n != 0 || err != nil {
		s.Fatal(n, err)
	}
	s.wantIDs("Q1")
	s.none(spoolNoon, spoolNoon.Add(time.Hour))
	s.reopen()
	s.wantIDs("Q1")
	s.none(spoolNoon, spoolNoon.Add(time.Hour))
	// All delivered by somebody's hand: that is its end.
	s.change("Q1", func(m *queue.EntryView) {
		for i := range m.Jobs[0].Recipients {
			m.Jobs[0].Recipients[i].State = queue.Delivered
		}
	})
	s.wantIDs()
}

func (s *spoolTest) testChangeRefused() {
	s.commit(spoolAccept("Q1", spoolNoon), "", nil)
	no := errors.New("no")
	if _, err := s.Change(background, "Q1", func(m *queue.EntryView) error {
		m.Status.Held = "x"
		m.Jobs[0].Due = spoolNoon.Add(time.Hour)
		return no
	}); !errors.Is(err, no) {
		s.Errorf("Change: %v", err)
	}
	if l := s.lease(spoolNoon); l.Status().Held != "" {
		s.Errorf("status %+v", l.Status())
	}
}

// operator is the node that is told what to do, with what this one has in hand.
func (s *spoolTest) operator() *spoolTest {
	if s.elsewhere != nil {
		return s.elsewhere
	}
	return s
}

// What is done to a message that is being delivered takes effect on the rest at once, and on the
// attempt when it ends: its success counts, its failure follows the new state.
func (s *spoolTest) testHoldInFlight() {
	s.commit(inLanes("Q1", spoolNoon, "a", "b", "c"), "", nil)
	one, two := s.lease(spoolNoon), s.lease(spoolNoon)
	if n := s.operator().change("Q1", func(m *queue.EntryView) { m.Status.Held = "wait" }); n != 2 {
		s.Errorf("%d in flight", n)
	}
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	s.record(one, delivered(one))
	s.record(two, deferred(two, spoolNoon.Add(time.Minute)))
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	m := s.get("Q1")
	if m.Status.Held != "wait" || m.Open() != 2 || m.InFlight() != 0 {
		s.Errorf("message %+v", m)
	}
	s.operator().change("Q1", func(m *queue.EntryView) { m.Status.Held = "" })
	if got, _ := s.leaseAll(spoolNoon.Add(time.Minute)); len(got) != 2 {
		s.Errorf("%d jobs after the release", len(got))
	}
}

// What was put on hold while it was delivered is in no lane once the attempt has ended, and neither when it is deleted then.
func (s *spoolTest) testHeldLeavesLane() {
	nowhere := func(when string) {
		s.Helper()
		if err := s.Lanes(background, func(i queue.LaneInfo) bool { s.Errorf("%s: there is a lane %+v", when, i); return true }); err != nil {
			s.Fatal(err)
		}
		if ids, err := s.InLane(background, "a", "Q1", 10); err != nil || len(ids) != 0 {
			s.Errorf("%s: in the lane: %q, %v", when, ids, err)
		}
	}
	for _, end := range []func(queue.Lease){
		func(l queue.Lease) { s.record(l, deferred(l, spoolNoon.Add(time.Minute))) },
		func(l queue.Lease) { l.Release() },
	} {
		s.commit(inLane("Q1", "alice", "a", spoolNoon), "", nil)
		l := s.lease(spoolNoon)
		s.operator().change("Q1", func(m *queue.EntryView) { m.Status.Held = "wait" })
		end(l)
		nowhere("held")
		s.operator().change("Q1", func(m *queue.EntryView) { m.Status.Held = "" })
		if ids, err := s.InLane(background, "a", "", 10); err != nil || !slices.Equal(ids, []string{"Q1"}) {
			s.Errorf("released, in the lane: %q, %v", ids, err)
		}
		l = s.lease(spoolNoon.Add(time.Hour))
		s.operator().change("Q1", func(m *queue.EntryView) { m.Status.Held = "wait" })
		end(l)
		if _, err := s.operator().Delete(background, "Q1"); err != nil {
			s.Fatal(err)
		}
		nowhere("deleted")
	}
}

// What was delivered although it was put on hold has nothing left that could be released, unless its sender is to be told.
func (s *spoolTest) testHeldAndDelivered() {
	hold := func(m *queue.EntryView) { m.Status.Held = "wait" }
	s.commit(inLanes("Q1", spoolNoon, "a", "b"), "", nil)
	s.commit(inLane("Q2", "alice", "c", spoolNoon), "", nil)
	_, leases := s.leaseAll(spoolNoon)
	for _, id := range []string{"Q1", "Q2"} {
		s.operator().change(id, hold)
	}
	for i, l := range leases {
		r := delivered(l)
		if l.Entry().ID == "Q2" {
			r = as(l, queue.Failed)
			r.Notes = []queue.Note{failedNote(0)}
		} else if i > 0 {
			s.wantIDs("Q1", "Q2")
		}
		s.record(l, r)
	}
	s.wantIDs("Q2")
	if m := s.get("Q2"); m.Status.Held != "wait" {
		s.Errorf("status %+v", m.Status)
	}
}

func (s *spoolTest) testGiveUpInFlight() {
	s.SetLane("b", queue.LaneState{})
	s.commit(inLanes("Q1", spoolNoon, "a", "b"), "", nil)
	l := s.lease(spoolNoon)
	if n := s.operator().change("Q1", func(m *queue.EntryView) {
		m.Status.GivenUp, m.Status.GivenUpAt = "enough", spoolNoon
		for i := range m.Jobs {
			m.Jobs[i].Due, m.Jobs[i].Deadline = spoolNoon, spoolNoon
		}
	}); n != 1 {
		s.Errorf("%d in flight", n)
	}
	other := s.lease(spoolNoon) // although its lane takes nothing
	if other.Status().GivenUp != "enough" || other.Job().Lane != "b" {
		s.Errorf("job %+v", other.Job())
	}
	s.record(other, as(other, queue.Failed))
	s.record(l, deferred(l, spoolNoon.Add(4*time.Hour)))
	l = s.lease(spoolNoon) // now, and not in four hours
	if l.Status().GivenUp != "enough" {
		s.Errorf("status %+v", l.Status())
	}
	s.record(l, as(l, queue.Failed))
	s.wantIDs()
}

func (s *spoolTest) testRetryInFlight() {
	s.commit(inLanes("Q1", spoolNoon, "a"), "", nil)
	l := s.lease(spoolNoon)
	s.operator().change("Q1", func(m *queue.EntryView) { m.Status.Asked = spoolNoon })
	s.record(l, deferred(l, spoolNoon.Add(4*time.Hour)))
	l = s.lease(spoolNoon) // now, and not in four hours
	s.record(l, deferred(l, spoolNoon.Add(4*time.Hour)))
	s.none(spoolNoon, spoolNoon.Add(4*time.Hour))
}

func (s *spoolTest) testRerouteInFlight() {
	s.commit(inLanes("Q1", spoolNoon, "a"), "", nil)
	l := s.lease(spoolNoon)
	s.operator().change("Q1", func(m *queue.EntryView) { m.Status.Rerouted = "other.example.org" })
	s.record(l, deferred(l, spoolNoon.Add(4*time.Hour)))
	l = s.lease(spoolNoon)
	if l.Job().Lane != "" || l.Status().Rerouted != "other.example.org" {
		s.Errorf("job %+v, status %+v", l.Job(), l.Status())
	}
}

func (s *spoolTest) testDeleteInFlight() {
	for _, size := range []int{10, 400 << 10} {
		s.commit(inLanes("Q1", spoolNoon, "a", "b"), "", spoolBody(1, size))
		_, leases := s.leaseAll(spoolNoon)
		if n, err := s.operator().Delete(background, "Q1"); n != 2 || err != nil {
			s.Errorf("%d in flight, %v", n, err)
		}
		s.wantIDs()
		s.commit(inLanes("Q1", spoolNoon.Add(time.Hour), "c"), "", nil) // another of the same name
		for _, l := range leases {
			r := deferred(l, spoolNoon)
			r.Notes, r.NotesDue = []queue.Note{failedNote(0)}, spoolNoon
			s.record(l, r)
		}
		s.none(spoolNoon, spoolNoon.Add(time.Hour))
		if m := s.get("Q1"); len(m.Jobs) != 1 || m.Jobs[0].Lane != "c" || len(m.Status.Notes) != 0 {
			s.Errorf("message %+v", m)
		}
		if _, err := s.operator().Delete(background, "Q1"); err != nil {
			s.Error(err)
		}
		s.none(spoolNoon.Add(2*time.Hour), time.Time{})
	}
}

func (s *spoolTest) testRetryDeadLetter() {
	s.commit(spoolAccept("Q1", spoolNoon), "", []byte("body"))
	l := s.lease(spoolNoon)
	r := as(l, queue.Failed)
	r.Keep = spoolNoon.Add(time.Hour)
	s.record(l, r)
	bury := s.lease(spoolNoon.Add(time.Hour))
	s.change("Q1", func(m *queue.EntryView) {
		m.Status.Dead, m.Status.Since = time.Time{}, spoolNoon
		j := &m.Jobs[0]
		j.Due, j.Attempts = spoolNoon, 0
		for i := range j.Recipients {
			j.Recipients[i].State = queue.Pending
		}
	})
	s.record(bury, &queue.Record{At: spoolNoon, Remove: true}) // it is no dead letter any more
	s.reopen()
	l = s.lease(spoolNoon)
	if !l.Job().Pending() || !l.Status().Since.Equal(spoolNoon) || string(s.message(l)) != "body" {
		s.Errorf("job %+v", l.Job())
	}
	s.record(l, delivered(l))
	s.wantIDs()
}

func (s *spoolTest) testList() {
	var want []string
	for i := range 250 {
		id := fmt.Sprintf("Q%03d", i)
		want = append(want, id)
		s.commit(spoolAccept(id, spoolNoon), "", nil)
	}
	l := s.lease(spoolNoon)
	s.wantIDs(want...) // leased ones too
	if m := s.get(l.Entry().ID); m.InFlight() != 1 {
		s.Errorf("message %+v", m)
	}
	l.Release()
	var got []string
	if err := s.List(background, "Q100", func(m *queue.EntryView) bool { got = append(got, m.Entry.ID); return len(got) < 120 }); err != nil {
		s.Fatal(err)
	}
	if !slices.Equal(got, want[101:221]) {
		s.Errorf("a part of the list: %q", got)
	}
	// The spool may be used in between.
	if err := s.List(background, "Q248", func(m *queue.EntryView) bool {
		_, err := s.Get(background, m.Entry.ID)
		if err == nil {
			_, err = s.Delete(background, m.Entry.ID)
		}
		if err != nil {
			s.Error(err)
		}
		return true
	}); err != nil {
		s.Fatal(err)
	}
	s.wantIDs(want[:249]...)
}

func (s *spoolTest) testLanes() {
	for i := range 5 {
		s.commit(inLane(fmt.Sprintf("Q%d", i), "alice", "a", spoolNoon), "", nil)
	}
	s.commit(inLanes("R", spoolNoon.Add(time.Hour), "b", "c"), "", nil)
	s.commit(inLane("S", "alice", "a", spoolNoon), "", nil)
	s.change("S", func(m *queue.EntryView) { m.Status.Held = "wait" })
	l := s.lease(spoolNoon)
	lanes := make(map[string]queue.LaneInfo)
	if err := s.Lanes(background, func(i queue.LaneInfo) bool { lanes[i.Name] = i; return true }); err != nil {
		s.Fatal(err)
	}
	if a := lanes["a"]; a.Waiting != 4 || a.Leased != 1 || !a.Oldest.Equal(spoolNoon) || lanes["b"].Waiting != 1 || lanes["c"].Waiting != 1 || len(lanes) != 3 {
		s.Errorf("lanes %+v", lanes)
	}
	l.Release()
	ids, err := s.InLane(background, "a", "", 3)
	if err != nil || !slices.Equal(ids, []string{"Q0", "Q1", "Q2"}) {
		s.Errorf("in the lane: %q, %v", ids, err)
	}
	if ids, _ := s.InLane(background, "a", "Q2", 10); !slices.Equal(ids, []string{"Q3", "Q4"}) {
		s.Errorf("in the lane after Q2: %q", ids)
	}
	for _, id := range append(s.ids(), "none") {
		_, _ = s.Delete(background, id)
	}
	if err := s.Lanes(background, func(i queue.LaneInfo) bool { s.Errorf("there is still %+v", i); return true }); err != nil {
		s.Fatal(err)
	}
}

// The oldest message in a lane is the one that was accepted first, whenever it came there.
func (s *spoolTest) testLaneOldest() {
	oldest := func() (at time.Time) {
		if err := s.Lanes(background, func(i queue.LaneInfo) bool {
			if i.Name == "a" {
				at = i.Oldest
			}
			return true
		}); err != nil {
			s.Fatal(err)
		}
		return at
	}
	for i, lane := range []string{"b", "b", "a", "a", "a"} {
		a := inLane(fmt.Sprint("Q", i), "alice", lane, spoolNoon)
		a.Entry.Accepted = spoolNoon.Add(time.Duration(i) * time.Minute)
		s.commit(a, "", nil)
	}
	for i := 1; i >= 0; i-- {
		s.change(fmt.Sprint("Q", i), func(m *queue.EntryView) { m.Jobs[0].Lane = "a" })
		if at := oldest(); !at.Equal(spoolNoon.Add(time.Duration(i) * time.Minute)) {
			s.Errorf("the oldest is of %v, not of Q%d", at, i)
		}
	}
	for i := range 5 {
		if at := oldest(); !at.Equal(spoolNoon.Add(time.Duration(i) * time.Minute)) {
			s.Errorf("the oldest is of %v with %d gone", at, i)
		}
		if _, err := s.Delete(background, fmt.Sprint("Q", i)); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *spoolTest) testNotify() {
	n, ok := s.OpenSpool.(queue.Notifier)
	if !ok {
		s.Skip("it is no queue.Notifier")
	}
	woken := func(what string) {
		s.Helper()
		select {
		case <-n.Notify():
		default:
			s.Errorf("not notified of %s", what)
		}
		select {
		case <-n.Notify():
			s.Errorf("notified twice of %s", what)
		default:
		}
	}
	s.commit(spoolAccept("Q1", spoolNoon), "", nil)
	woken("a commit")
	l := s.lease(spoolNoon)
	l.Release()
	woken("a release")
	l = s.lease(spoolNoon)
	s.record(l, as(l, queue.Pending))
	woken("a record")
	s.change("Q1", func(m *queue.EntryView) { m.Status.Note(spoolNoon, "noted", "") })
	woken("a change")
	s.SetLane("a", queue.LaneState{Limit: 7})
	woken("a lane")
}
