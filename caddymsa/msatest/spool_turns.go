package msatest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func (s *spoolTest) testOrder() {
	for i, minutes := range []int{5, 1, 9, 3, 7} {
		s.commit(spoolAccept(fmt.Sprintf("Q%d", i), spoolNoon.Add(time.Duration(minutes)*time.Minute)), "", nil)
	}
	s.none(spoolNoon, spoolNoon.Add(time.Minute))
	var got []string
	for range 4 {
		l := s.lease(spoolNoon.Add(8 * time.Minute))
		got = append(got, l.Entry().ID)
	}
	if want := []string{"Q1", "Q3", "Q0", "Q4"}; !slices.Equal(got, want) {
		s.Errorf("leased %q, wanted %q", got, want)
	}
	s.none(spoolNoon.Add(8*time.Minute), spoolNoon.Add(9*time.Minute))
	if id := s.lease(spoolNoon.Add(9 * time.Minute)).Entry().ID; id != "Q2" { // due means due, to the nanosecond
		s.Errorf("leased %s", id)
	}
	s.none(spoolNoon.Add(time.Hour), time.Time{})
}

// Nobody waits behind all of another user's messages.
func (s *spoolTest) testTurns() {
	for i := range 60 {
		a := spoolAccept(fmt.Sprintf("A%02d", i), spoolNoon)
		a.Entry.User = "many"
		s.commit(a, "", nil)
	}
	for _, user := range []string{"one", "two"} {
		a := spoolAccept("B"+user, spoolNoon.Add(time.Minute))
		a.Entry.User = user
		s.commit(a, "", nil)
	}
	var got []string
	for range 8 {
		got = append(got, s.lease(spoolNoon.Add(time.Hour)).Entry().ID)
	}
	if !slices.Contains(got, "Bone") || !slices.Contains(got, "Btwo") {
		s.Errorf("leased %q first: the others wait behind one", got)
	}
	last := ""
	for _, id := range got { // one user's in their order
		if strings.HasPrefix(id, "A") {
			if id < last {
				s.Errorf("leased %q", got)
			}
			last = id
		}
	}
}

// In a lane that takes one at a time users take turns too, whatever they send elsewhere.
func (s *spoolTest) testTurnsInLane() {
	s.SetLane("slow", queue.LaneState{Limit: 1})
	s.SetLane("quick", queue.LaneState{Limit: -1, Proven: true})
	for i := range 40 {
		s.commit(inLane(fmt.Sprintf("A%02d", i), "many", "slow", spoolNoon), "", nil)
		s.commit(inLane(fmt.Sprintf("B%02d", i), "both", "slow", spoolNoon), "", nil)
		s.commit(inLane(fmt.Sprintf("C%02d", i), "both", "quick", spoolNoon), "", nil)
	}
	s.commit(inLane("D", "late", "slow", spoolNoon.Add(time.Second)), "", nil)
	counts := make(map[byte]int)
	var slow []byte
	for range 24 {
		_, leases := s.leaseAll(spoolNoon.Add(time.Minute))
		for _, l := range leases {
			if l.Job().Lane == "slow" {
				slow = append(slow, l.Entry().ID[0])
				counts[l.Entry().ID[0]]++
			}
			s.record(l, delivered(l))
		}
	}
	if len(slow) != 24 || counts['A'] < 9 || counts['B'] < 9 || !slices.Contains(slow[:5], 'D') {
		s.Errorf("the turns were %s", slow)
	}
}

// What waits in a lane that takes nothing is in nobody's way, the same user's included.
func (s *spoolTest) testTurnsBetweenLanes() {
	s.SetLane("closed", queue.LaneState{})
	for i := range 50 {
		s.commit(inLane(fmt.Sprintf("A%02d", i), "alice", "closed", spoolNoon), "", nil)
	}
	s.SetLane("open", queue.LaneState{Limit: 2})
	for i := range 3 {
		s.commit(inLane(fmt.Sprintf("B%02d", i), "alice", "open", spoolNoon.Add(time.Second)), "", nil)
	}
	if got, _ := s.leaseAll(spoolNoon.Add(time.Minute)); !slices.Equal(got, []string{"B00", "B01"}) {
		s.Errorf("leased %q", got)
	}
	s.SetLane("closed", queue.LaneState{Limit: 1})
	if got, _ := s.leaseAll(spoolNoon.Add(time.Minute)); !slices.Equal(got, []string{"A00"}) {
		s.Errorf("leased %q when it opened", got)
	}
}

// The higher priority comes first and does not come alone (RFC 6710 section 4.2).
func (s *spoolTest) testPriority() {
	for i := range 60 {
		a := spoolAccept(fmt.Sprintf("H%02d", i), spoolNoon.Add(time.Minute))
		a.Entry.Priority = 4
		s.commit(a, "", nil)
	}
	low := spoolAccept("L", spoolNoon)
	low.Entry.Priority = -3
	s.commit(low, "", nil)
	var got []string
	for range 60 {
		got = append(got, s.lease(spoolNoon.Add(time.Hour)).Entry().ID)
	}
	if got[0] != "H00" {
		s.Errorf("leased %s first", got[0])
	}
	if !slices.Contains(got, "L") {
		s.Error("the low priority waits forever")
	}
}

// Priority counts where a lane takes one at a time.
func (s *spoolTest) testPriorityInLane() {
	s.SetLane("slow", queue.LaneState{Limit: 1})
	for i := range 60 {
		s.commit(inLane(fmt.Sprintf("L%02d", i), fmt.Sprint("user", i%7), "slow", spoolNoon), "", nil)
	}
	l := s.lease(spoolNoon.Add(time.Minute)) // it is full now
	for i := range 30 {
		a := inLane(fmt.Sprintf("H%02d", i), "alice", "slow", spoolNoon)
		a.Entry.Priority = 5
		s.commit(a, "", nil)
	}
	s.record(l, delivered(l))
	var got []byte
	for range 30 {
		l := s.lease(spoolNoon.Add(time.Minute))
		got = append(got, l.Entry().ID[0])
		s.record(l, delivered(l))
	}
	if high := strings.Count(string(got), "H"); high < 24 || high == 30 {
		s.Errorf("the turns were %s", got)
	}
}

// A lane that is probed is so with another message each time, whatever their priorities.
func (s *spoolTest) testProbe() {
	at := spoolNoon
	commit := func(id, user string, priority int) {
		at = at.Add(time.Second)
		a := inLane(id, user, "hop", at)
		a.Entry.Accepted, a.Entry.Priority = at, priority
		s.commit(a, "", nil)
	}
	try := func(state queue.LaneState) string {
		s.Helper()
		at = at.Add(time.Second)
		s.SetLane("hop", state)
		l := s.lease(at)
		s.SetLane("hop", queue.LaneState{Probe: true})
		r := deferred(l, at)
		r.Jobs[0].Tried = at
		s.record(l, r)
		return l.Entry().ID
	}
	probe := queue.LaneState{Limit: 1, Probe: true}
	commit("A", "alice", 5)
	try(queue.LaneState{Limit: 1})
	if got := try(probe); got != "A" {
		s.Errorf("the probe was %s", got)
	}
	seen := make(map[string]int)
	last := "A"
	for i, late := range []string{"B", "", "C", "", "", "D", "", "", "", "", "", ""} { // messages that come meanwhile
		if late != "" {
			commit(late, map[string]string{"B": "bob", "C": "bob", "D": "alice"}[late], map[string]int{"D": 5}[late])
		}
		got := try(probe)
		if got == last {
			s.Errorf("the probe %d was %s, like that before", i, got)
		}
		last = got
		seen[got]++
	}
	if len(seen) != 4 {
		s.Errorf("the probes were %v", seen)
	}
	s.SetLane("hop", queue.LaneState{Limit: -1}) // it is up
	if got, _ := s.leaseAll(at); len(got) != 4 || got[0] != "A" && got[0] != "D" {
		s.Errorf("leased %q when the lane was up", got)
	}
}

func (s *spoolTest) testLaneLimit() {
	for i := range 10 {
		s.commit(inLane(fmt.Sprintf("Q%d", i), "alice", "relay/a", spoolNoon), "", nil)
	}
	s.SetLane("relay/a", queue.LaneState{Limit: 3})
	_, leases := s.leaseAll(spoolNoon)
	if len(leases) != 3 {
		s.Fatalf("%d leased, wanted 3", len(leases))
	}
	s.none(spoolNoon, time.Time{})
	leases[0].Release()
	s.record(leases[1], delivered(leases[1]))
	if got, _ := s.leaseAll(spoolNoon); len(got) != 2 {
		s.Errorf("%d leased where two places came free", len(got))
	}
	s.SetLane("relay/a", queue.LaneState{Limit: -1})
	if got, _ := s.leaseAll(spoolNoon); len(got) != 6 {
		s.Errorf("%d leased without a limit, wanted 6", len(got))
	}
}

// A lane of which nothing was said takes one; the lane without a name any number.
func (s *spoolTest) testNewLane() {
	for i := range 5 {
		s.commit(inLane(fmt.Sprintf("Q%d", i), "alice", "relay/a", spoolNoon), "", nil)
		s.commit(spoolAccept(fmt.Sprintf("R%d", i), spoolNoon), "", nil)
	}
	if got, _ := s.leaseAll(spoolNoon); len(got) != queue.NewLane.Limit+5 {
		s.Errorf("%d leased", len(got))
	}
}

// A lane may change at any time, with jobs in every state.
func (s *spoolTest) testLaneChanges() {
	const n = 60
	for i := range n {
		s.commit(inLane(fmt.Sprintf("Q%02d", i), fmt.Sprint("user", i%3), fmt.Sprint("relay/", i%4), spoolNoon.Add(time.Duration(i%5)*time.Second)), "", nil)
	}
	done := 0
	for round := 0; done < n && round < 1000; round++ {
		s.SetLane(fmt.Sprint("relay/", round%4), queue.LaneState{Limit: round % 3, Proven: round%5 == 0})
		_, leases := s.leaseAll(spoolNoon.Add(time.Duration(round) * time.Second / 4))
		for i, l := range leases {
			if i%2 == 0 {
				l.Release()
				continue
			}
			s.record(l, delivered(l))
			done++
		}
		if len(leases) == 1 {
			l := s.lease(spoolNoon.Add(time.Minute))
			s.record(l, delivered(l))
			done++
		}
	}
	for i := range 4 {
		s.SetLane(fmt.Sprint("relay/", i), queue.LaneState{Limit: -1})
	}
	got, _ := s.leaseAll(spoolNoon.Add(time.Minute))
	if done+len(got) != n {
		s.Errorf("%d of %d jobs were leased in the end", done+len(got), n)
	}
}

// Lanes that are not proven can be left out for a while.
func (s *spoolTest) testProven() {
	s.SetLane("good", queue.LaneState{Limit: 9, Proven: true})
	s.SetLane("unknown", queue.LaneState{Limit: 9})
	s.commit(inLane("Q1", "alice", "unknown", spoolNoon), "", nil)
	s.commit(inLane("Q2", "alice", "good", spoolNoon.Add(time.Second)), "", nil)
	s.commit(inLane("Q3", "alice", "good", spoolNoon.Add(2*time.Second)), "", nil)
	now := spoolNoon.Add(time.Minute)
	l, _, err := s.Lease(background, now, queue.Want{Proven: true})
	if err != nil || l.Entry().ID != "Q2" {
		s.Fatalf("leased %v, %v", l, err)
	}
	s.SetLane("good", queue.LaneState{Limit: 9})
	if l, _, err := s.Lease(background, now, queue.Want{Proven: true}); !errors.Is(err, queue.ErrNoneDue) {
		s.Fatalf("leased %v, %v", l, err)
	}
	if got, _ := s.leaseAll(now); !slices.Equal(got, []string{"Q1", "Q3"}) {
		s.Errorf("leased %q", got)
	}
}

// Past its deadline a job is leased whatever its lane says, and goes back to its lane.
func (s *spoolTest) testDeadline() {
	s.SetLane("closed", queue.LaneState{})
	for i := range 3 {
		a := inLane(fmt.Sprintf("Q%d", i), "alice", "closed", spoolNoon)
		a.Jobs[0].Deadline = spoolNoon.Add(time.Hour)
		if i == 2 {
			a.Jobs[0].Due, a.Jobs[0].Deadline = spoolNoon.Add(3*time.Hour), spoolNoon.Add(2*time.Hour)
		}
		s.commit(a, "", nil)
	}
	s.none(spoolNoon.Add(time.Minute), spoolNoon.Add(time.Hour))
	got, leases := s.leaseAll(spoolNoon.Add(time.Hour))
	if !slices.Equal(got, []string{"Q0", "Q1"}) {
		s.Fatalf("leased %q", got)
	}
	r := as(leases[0], queue.Pending)
	r.Jobs[0].Deadline = spoolNoon.Add(24 * time.Hour)
	s.record(leases[0], r)
	leases[1].Release() // is still overdue
	if got, _ := s.leaseAll(spoolNoon.Add(2 * time.Hour)); !slices.Equal(got, []string{"Q1", "Q2"}) {
		s.Errorf("leased %q", got)
	}
	s.SetLane("closed", queue.LaneState{Limit: 5})
	if got, _ := s.leaseAll(spoolNoon.Add(2 * time.Hour)); !slices.Equal(got, []string{"Q0"}) {
		s.Errorf("leased %q of the lane", got)
	}
	s.reopen()
	if got, _ := s.leaseAll(spoolNoon.Add(2 * time.Hour)); len(got) != 3 {
		s.Errorf("leased %q after a restart", got)
	}
}

// When the clock is set back what was written by it is due now, not in ten years.
func (s *spoolTest) testClockSetBack() {
	future := spoolNoon.Add(10 * 365 * 24 * time.Hour)
	s.commit(spoolAccept("Q1", future), "", nil)
	l := s.lease(future)
	r := deferred(l, future.Add(time.Minute))
	r.At = future
	s.record(l, r)
	s.none(future.Add(time.Second), future.Add(time.Minute))
	if id := s.lease(spoolNoon).Entry().ID; id != "Q1" {
		s.Errorf("leased %s", id)
	}
}

// Whatever its lane says, since what was accepted in ten years would be given up then; after a restart with the right time, too, soon.
func (s *spoolTest) testClockWasAhead() {
	for _, restarted := range []string{"", "R"} {
		future := time.Now().AddDate(10, 0, 0)
		for _, id := range []string{"Q1", "Q2"} {
			a := inLane(restarted+id, "alice", "down", future)
			a.Entry.Accepted, a.Jobs[0].Deadline = future, future.Add(time.Hour)
			s.commit(a, "", nil)
		}
		s.SetLane("down", queue.LaneState{Limit: 1, Proven: true})
		l := s.lease(future)
		r := deferred(l, future.Add(time.Minute))
		r.At = future
		s.record(l, r)
		if restarted != "" {
			s.reopen()
		}
		s.SetLane("down", queue.LaneState{Proven: true})
		var ids []string
		for end := time.Now().Add(time.Minute); len(ids) < 2 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			got, leases := s.leaseAll(time.Now())
			ids = append(ids, got...)
			for _, l := range leases {
				if l.Job().Deadline.After(time.Now()) {
					s.Errorf("%s is leased by its deadline, which is %v", l.Entry().ID, l.Job().Deadline)
				}
				s.record(l, delivered(l))
			}
		}
		if len(ids) != 2 {
			s.Errorf("leased %q (restarted: %q)", ids, restarted)
		}
	}
}

// However many users wait for later, in however many lanes, who is due is found; and of many who are due all have
// their turn.
func (s *spoolTest) testTurnsOfMany() {
	const many = 300
	for i := range many {
		s.commit(inLane(fmt.Sprintf("L%03d", i), fmt.Sprintf("user%03d", i), fmt.Sprint("lane", i%50), spoolNoon.Add(time.Hour)), "", nil)
	}
	s.commit(inLane("ZZZ", "zzz", "lane49", spoolNoon), "", nil)
	l := s.lease(spoolNoon)
	if l.Entry().ID != "ZZZ" {
		s.Fatalf("%s is leased", l.Entry().ID)
	}
	s.record(l, delivered(l))
	s.none(spoolNoon, spoolNoon.Add(time.Hour))
	for i := range 50 {
		s.SetLane(fmt.Sprint("lane", i), queue.LaneState{Limit: -1, Proven: true})
	}
	if got, _ := s.leaseAll(spoolNoon.Add(time.Hour)); len(got) != many {
		s.Errorf("%d of %d were leased", len(got), many)
	}
}
