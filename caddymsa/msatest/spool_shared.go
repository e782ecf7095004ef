package msatest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// SharedSpool is a spool that several nodes have open at once.
type SharedSpool struct {
	// Node opens it once more.
	Node func() queue.OpenSpool
	// Cut has a node out of touch with the engine until its leases have ended; Heal is the end of that.
	Cut, Heal func(node queue.OpenSpool)
}

// Shared is the conformance suite of spools that nodes share, beside Spool. open gives an empty one.
func Shared(t *testing.T, open func(t testing.TB) SharedSpool) {
	for _, c := range []struct {
		name string
		test func(*sharedTest)
	}{
		{"ExclusiveJobs", (*sharedTest).testExclusive},
		{"LaneLimitsAreTheNodes", (*sharedTest).testLanes},
		{"LostLease", (*sharedTest).testLost},
		{"EngineGoneDuringRecord", (*sharedTest).testGone},
		{"CrashBetweenRecords", (*sharedTest).testCrash},
		{"Clocks", (*sharedTest).testClocks},
		{"OperatorElsewhere", (*sharedTest).testOperator},
		{"HoldElsewhere", elsewhere((*spoolTest).testHoldInFlight)},
		{"GiveUpElsewhere", elsewhere((*spoolTest).testGiveUpInFlight)},
		{"RetryElsewhere", elsewhere((*spoolTest).testRetryInFlight)},
		{"RerouteElsewhere", elsewhere((*spoolTest).testRerouteInFlight)},
		{"DeleteElsewhere", elsewhere((*spoolTest).testDeleteInFlight)},
		{"LanePlaces", (*sharedTest).testPlaces},
		{"LanePlaceOfNewcomer", (*sharedTest).testPlaceOfNewcomer},
		{"LaneConditions", (*sharedTest).testConditions},
		{"Journal", (*sharedTest).testJournal},
		{"JournalClaim", (*sharedTest).testJournalClaim},
	} {
		t.Run(c.name, func(t *testing.T) {
			shared := open(t)
			s := &sharedTest{shared, node(t, shared), node(t, shared)}
			c.test(s)
		})
	}
}

// sharedTest is a test with two nodes.
type sharedTest struct {
	SharedSpool
	one, two *spoolTest
}

func node(t *testing.T, shared SharedSpool) *spoolTest {
	n := &spoolTest{T: t, OpenSpool: shared.Node()}
	t.Cleanup(func() { n.Close() })
	return n
}

func (s *sharedTest) testExclusive() {
	const entries = 40
	for i := range entries {
		s.one.commit(inLanes(fmt.Sprintf("Q%02d", i), spoolNoon, "", "", ""), "", nil)
	}
	var mu sync.Mutex
	seen := make(map[string]int)
	var wg sync.WaitGroup
	for _, n := range []*spoolTest{s.one, s.two, s.one, s.two} {
		wg.Go(func() {
			for {
				l, _, err := n.Lease(background, spoolNoon, queue.Want{})
				if err != nil {
					return
				}
				mu.Lock()
				seen[fmt.Sprint(l.Entry().ID, l.Job().Number)]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for id, n := range seen {
		if n != 1 {
			s.one.Errorf("%s was leased %d times", id, n)
		}
	}
	if len(seen) != 3*entries {
		s.one.Errorf("%d of %d jobs were leased", len(seen), 3*entries)
	}
}

// What one node says of a lane it says for itself.
func (s *sharedTest) testLanes() {
	for i := range 6 {
		s.one.commit(inLane(fmt.Sprint("Q", i), "alice", "a", spoolNoon), "", nil)
	}
	s.one.SetLane("a", queue.LaneState{})
	s.two.SetLane("a", queue.LaneState{Limit: 2})
	s.one.none(spoolNoon, time.Time{})
	if got, _ := s.two.leaseAll(spoolNoon); len(got) != 2 {
		s.one.Errorf("%d leased", len(got))
	}
}

// A node that was cut off cannot overwrite what another has recorded since.
func (s *sharedTest) testLost() {
	s.one.commit(spoolAccept("Q1", spoolNoon), "", []byte("text"))
	l := s.one.lease(spoolNoon)
	s.two.none(spoolNoon, time.Time{})
	select {
	case <-l.Lost():
		s.one.Fatal("lost at once")
	default:
	}
	s.Cut(s.one.OpenSpool)
	<-l.Lost()
	again := s.two.lease(spoolNoon)
	s.two.record(again, deferred(again, spoolNoon.Add(time.Hour)))
	s.Heal(s.one.OpenSpool)
	if err := l.Record(background, delivered(l)); !errors.Is(err, queue.ErrLost) {
		s.one.Errorf("Record of a lost lease: %v", err)
	}
	l.Release()
	if m := s.one.get("Q1"); m.Jobs[0].Attempts != 1 || m.Open() != 1 {
		s.one.Errorf("message %+v", m)
	}
	s.two.none(spoolNoon, spoolNoon.Add(time.Hour))
}

// An outcome that cannot be recorded is an error, and nothing is half recorded.
func (s *sharedTest) testGone() {
	s.one.commit(inLanes("Q1", spoolNoon, "", ""), "", nil)
	l := s.one.lease(spoolNoon)
	s.Cut(s.one.OpenSpool)
	if err := l.Record(background, delivered(l)); err == nil {
		s.one.Error("recorded without an engine")
	}
	s.Heal(s.one.OpenSpool)
	if m := s.two.get("Q1"); m.Open() != 2 {
		s.one.Errorf("message %+v", m)
	}
	if got, _ := s.two.leaseAll(spoolNoon); len(got) != 2 {
		s.one.Errorf("%d jobs", len(got))
	}
}

func (s *sharedTest) testCrash() {
	s.one.commit(inLanes("Q1", spoolNoon, "", ""), "", []byte("text"))
	_, leases := s.one.leaseAll(spoolNoon)
	s.one.record(leases[0], delivered(leases[0]))
	s.Cut(s.one.OpenSpool) // and never comes back
	got, leases := s.two.leaseAll(spoolNoon)
	if len(got) != 1 || string(s.two.message(leases[0])) != "text" {
		s.one.Fatalf("%d jobs after the crash", len(got))
	}
	s.two.record(leases[0], delivered(leases[0]))
	s.two.wantIDs()
}

// Due times are compared with the caller's clock, and nothing else is.
func (s *sharedTest) testClocks() {
	s.one.commit(spoolAccept("Q1", spoolNoon), "", nil)
	early := spoolNoon.Add(-50 * time.Second)
	s.two.none(early, spoolNoon)
	l := s.one.lease(spoolNoon)
	s.two.none(early, time.Time{})
	s.one.record(l, deferred(l, spoolNoon.Add(time.Minute)))
	s.two.none(early, spoolNoon.Add(time.Minute))
	s.one.none(spoolNoon, spoolNoon.Add(time.Minute))
}

// elsewhere has the second node steer what the first has in hand.
func elsewhere(test func(*spoolTest)) func(*sharedTest) {
	return func(s *sharedTest) {
		s.one.elsewhere = s.two
		test(s.one)
	}
}

func (s *sharedTest) testOperator() {
	s.one.commit(inLanes("Q1", spoolNoon, "", ""), "", nil)
	l := s.one.lease(spoolNoon)
	if n := s.two.change("Q1", func(m *queue.EntryView) { m.Status.Held = "wait" }); n != 1 {
		s.one.Errorf("%d in flight", n)
	}
	s.one.none(spoolNoon, time.Time{})
	s.one.record(l, deferred(l, spoolNoon))
	s.two.none(spoolNoon, time.Time{})
	if n, err := s.two.Delete(background, "Q1"); n != 0 || err != nil {
		s.one.Errorf("%d in flight, %v", n, err)
	}
	s.one.wantIDs()
}
