package msatest

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// The lanes of spools that nodes share (queue.LaneSharer).

// sharer is a node as a queue sees it that heeds what it hears.
type sharer struct {
	queue.LaneSharer
	heard map[string]queue.LaneCondition
}

func (s *sharedTest) sharers(nodes ...*spoolTest) (all []*sharer) {
	s.one.Helper()
	for _, n := range nodes {
		l, ok := n.OpenSpool.(queue.LaneSharer)
		if !ok {
			s.one.Fatal("nodes that share a spool share its lanes: LaneSharer is not implemented")
		}
		all = append(all, &sharer{l, make(map[string]queue.LaneCondition)})
	}
	return all
}

func (s *sharer) hear() {
	all, _ := s.HearLanes()
	for _, c := range all {
		s.heard[c.Lane] = c
	}
}

// until has the nodes hear what there is until it is as it should be.
func until(t testing.TB, what string, nodes []*sharer, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		for _, n := range nodes {
			n.hear()
		}
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatal("not within a minute: " + what)
		}
	}
}

// placed tells whether the nodes have a place each in a lane.
func placed(lane string, nodes []*sharer) bool {
	seen := make(map[int]bool)
	for _, n := range nodes {
		place, of := n.Place(lane)
		if of != len(nodes) || place < 0 || place >= of {
			return false
		}
		seen[place] = true
	}
	return len(seen) == len(nodes)
}

// Nodes divide lanes, and a node that went has its part no more.
func (s *sharedTest) testPlaces() {
	t := s.one
	third := node(t.T, s.SharedSpool)
	all := s.sharers(s.one, s.two, third)
	const lanes = 100
	spread := func(nodes []*sharer) {
		t.Helper()
		until(t, "a place for each node in each lane", nodes, func() bool {
			for i := range lanes {
				if !placed(fmt.Sprint("lane", i), nodes) {
					return false
				}
			}
			return true
		})
		first := make([]int, len(nodes))
		for i := range lanes {
			for k, n := range nodes {
				if place, _ := n.Place(fmt.Sprint("lane", i)); place == 0 {
					first[k]++
				}
			}
		}
		for _, n := range first {
			if n < lanes/len(nodes)/3 {
				t.Errorf("of %d lanes the nodes have %v", lanes, first)
			}
		}
	}
	all[0].hear()
	until(t, "all of it while nobody else delivers", all[:1], func() bool { return placed("a", all[:1]) })
	spread(all)
	s.Cut(s.two.OpenSpool)
	spread([]*sharer{all[0], all[2]})
	s.Heal(s.two.OpenSpool)
	spread(all)
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	spread(all[:2])
}

// A node that comes gets its part of a lane when the others have left it.
func (s *sharedTest) testPlaceOfNewcomer() {
	t := s.one
	both := s.sharers(s.one, s.two)
	for i := range 2 {
		t.commit(inLane(fmt.Sprint("Q", i), "alice", "a", spoolNoon), "", nil)
	}
	until(t, "the first node's place", both[:1], func() bool { return placed("a", both[:1]) })
	t.SetLane("a", queue.LaneState{Limit: 2})
	_, leases := t.leaseAll(spoolNoon)
	if len(leases) != 2 {
		t.Fatalf("%d leases", len(leases))
	}
	both[1].hear()
	for range 20 { // the first has not heard of it
		both[1].hear()
		if _, nodes := both[1].Place("a"); nodes != 0 {
			t.Fatal("a newcomer took its part of a lane before others had left it")
		}
		time.Sleep(5 * time.Millisecond)
	}
	until(t, "the first node knows of the second", both[:1], func() bool { _, nodes := both[0].Place("a"); return nodes == 2 })
	t.SetLane("a", queue.LaneState{Limit: 1})
	until(t, "the newcomer's place in another lane", both, func() bool { return placed("b", both) })
	if _, nodes := both[1].Place("a"); nodes != 0 {
		t.Error("a newcomer took its part of a lane of which another has too much in hand")
	}
	t.record(leases[0], delivered(leases[0]))
	until(t, "the newcomer's place in the lane", both, func() bool { return placed("a", both) })
	leases[1].Release()
}

// What is told of a lane the others hear, the last word for good, and so does a node that comes later.
func (s *sharedTest) testConditions() {
	t := s.one
	both := s.sharers(s.one, s.two)
	for _, n := range both {
		n.hear()
	}
	down := queue.LaneCondition{Lane: "a", Failures: 1, Probe: spoolNoon.Add(time.Minute), Since: spoolNoon, Cause: "no route to host"}
	again := down
	again.Failures, again.Probe = 2, spoolNoon.Add(3*time.Minute)
	paused := queue.LaneCondition{Lane: "b", Since: spoolNoon, Paused: "maintenance"}
	both[0].TellLane(down)
	both[0].TellLane(paused)
	both[0].TellLane(queue.LaneCondition{Lane: "c", Failures: 1, Probe: spoolNoon, Since: spoolNoon})
	both[0].TellLane(queue.LaneCondition{Lane: "c"})
	both[0].TellLane(again)
	same := func(a, b queue.LaneCondition) bool {
		return a.Failures == b.Failures && a.Probe.Equal(b.Probe) && a.Since.Equal(b.Since) && a.Cause == b.Cause && a.Paused == b.Paused
	}
	knows := func(n *sharer) bool {
		return same(n.heard["a"], again) && same(n.heard["b"], paused) && n.heard["c"].Failures == 0
	}
	until(t, "the other node hears of the lanes", both[1:], func() bool { return knows(both[1]) })
	later := s.sharers(node(t.T, s.SharedSpool))
	until(t, "a later node hears of the lanes", later, func() bool { return knows(later[0]) })
	both[1].TellLane(queue.LaneCondition{Lane: "a"})
	until(t, "all hear that it is up", []*sharer{both[0], later[0]}, func() bool {
		return both[0].heard["a"].Lane == "a" && both[0].heard["a"].Failures == 0 && later[0].heard["a"].Failures == 0
	})
	if c, heard := both[0].heard["b"]; heard {
		t.Errorf("a node heard its own word: %+v", c)
	}
}
