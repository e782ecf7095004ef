package queuetest

import (
	"fmt"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// memShare is a node's part in dividing lanes.
type memShare struct {
	number   int // in the order in which nodes began to deliver; 0: it does not yet
	settled  bool
	returned int             // the latest node that HearLanes told of
	heeded   int             // and that is heeded: lanes take less since
	over     map[string]bool // lanes of which this node has more in hand than it takes since then
	moved    bool
	told     map[string]queue.LaneCondition // by others
}

// members are the nodes that deliver and live.
func (s *MemSpool) members() (all []*MemSpool) {
	for _, n := range s.nodes {
		if n.share.number > 0 {
			all = append(all, n)
		}
	}
	return all
}

// move tells all that places have changed.
func (s *MemSpool) move() {
	for _, n := range s.nodes {
		n.share.moved = true
	}
	s.wake()
}

// leave is when the node's leases have ended, and its part of the lanes with them.
func (s *MemSpool) leave() {
	s.endLeases()
	s.loseClaims()
	s.share = memShare{}
	s.move()
}

// heed is when what HearLanes returned is heeded.
func (s *MemSpool) heed() {
	if s.share.heeded == s.share.returned {
		return
	}
	s.share.heeded = s.share.returned
	s.share.over = make(map[string]bool)
	for lane := range s.held {
		s.share.over[lane] = true
		s.shrunk(lane)
	}
	s.move()
}

// shrunk notices that the node has no more of a lane in hand than it takes.
func (s *MemSpool) shrunk(lane string) {
	if state := s.lanes[lane]; s.share.over[lane] && (state.Limit < 0 || s.held[lane] <= state.Limit) {
		delete(s.share.over, lane)
		s.move()
	}
}

// Place implements queue.LaneSharer.
func (s *MemSpool) Place(lane string) (place, nodes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.share.number == 0 {
		return 0, 0
	}
	var names []string
	settled := true
	for _, n := range s.members() {
		if n != s && !s.share.settled {
			switch {
			case n.share.heeded < s.share.number, n.share.over[lane]:
				return 0, 0
			case len(n.share.over) > 0:
				settled = false
			}
		}
		names = append(names, fmt.Sprint(n.share.number))
	}
	s.share.settled = settled
	return queue.PlaceOf(lane, fmt.Sprint(s.share.number), names), len(names)
}

// TellLane implements queue.LaneSharer.
func (s *MemSpool) TellLane(c queue.LaneCondition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.cut {
		return
	}
	s.conditions[c.Lane] = c
	for _, n := range s.nodes {
		if n != s && n.share.told != nil {
			n.share.told[c.Lane] = c
		}
	}
	s.wake()
}

// HearLanes implements queue.LaneSharer.
func (s *MemSpool) HearLanes() (all []queue.LaneCondition, moved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.cut {
		return nil, false
	}
	if s.share.number == 0 {
		s.joined++
		s.share.number = s.joined
		s.share.told = make(map[string]queue.LaneCondition)
		for lane, c := range s.conditions {
			s.share.told[lane] = c
		}
		s.move()
	}
	s.heed()
	for lane, c := range s.share.told {
		all = append(all, c)
		delete(s.share.told, lane)
	}
	moved, s.share.moved = s.share.moved, false
	s.share.returned = s.joined
	return all, moved
}
