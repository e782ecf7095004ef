package queue

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// PlaceOf is the place of a node among all that share a lane: one of 0 to len(nodes)-1, by rendezvous hash, so
// that a node which comes or goes moves as little as can be.
func PlaceOf(lane, node string, nodes []string) (place int) {
	mine := weight(lane, node)
	for _, other := range nodes {
		if other != node && cmp.Or(cmp.Compare(weight(lane, other), mine), cmp.Compare(other, node)) > 0 {
			place++
		}
	}
	return place
}

func weight(lane, node string) uint64 {
	sum := sha256.Sum256(slices.Concat([]byte(lane), []byte{0}, []byte(node)))
	return binary.BigEndian.Uint64(sum[:])
}

// divide sets what this node takes of a lane's limits. Nodes that would get nothing of one limit get nothing of the
// other either: what is left of it is divided among fewer.
func (l *lane) divide(at time.Time) {
	d := l.destination
	nodes, limited := l.nodes, false
	if d.Rate.Per <= 0 {
		d.Rate = Rate{}
	}
	for _, limit := range []int{d.Concurrency, d.Rate.Messages} {
		if limit > 0 {
			nodes, limited = min(nodes, limit), true
		}
	}
	before, had := l.part, !l.none
	l.none = limited && l.place >= nodes
	l.part = d
	if limited && !l.none {
		l.part.Concurrency = partOf(d.Concurrency, l.place, nodes)
		l.part.Rate.Messages = partOf(d.Rate.Messages, l.place, nodes)
	}
	if l.none || !had || before.Rate != l.part.Rate { // what the others let pass is not known
		l.allowance, l.counted = min(l.allowance, 0), at
	}
}

// partOf is floor(total/nodes), and one more for the first places as long as something is left.
func partOf(total, place, nodes int) int {
	n := total / nodes
	if place < total%nodes {
		n++
	}
	return n
}

const (
	// newerPatience is how long a job waits for a node with the configuration that routed it.
	newerPatience = time.Hour
	// leftFor is how long a lane is left to such nodes, before this one looks again whether it is still so.
	leftFor = time.Minute
)

// newer tells whether another node has routed the job, with a configuration that is newer than g and has other routes.
func (q *Queue) newer(j *Job, g Generation) bool {
	return q.lanes.sharer != nil && newerStamp(j.Stamp, g.Stamp())
}

// leaveToOthers has this node take nothing of a lane for a while.
func (ls *lanes) leaveToOthers(name string, at time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.get(name)
	l.used, l.left = at, at.Add(leftFor)
	ls.tell(l, at)
}

// find tells a lane its place among the nodes.
func (ls *lanes) find(l *lane) {
	l.place, l.nodes = 0, 1
	if ls.sharer != nil {
		l.place, l.nodes = ls.sharer.Place(l.name)
	}
}

// probes tells whether it is this node that tries the lane next. The turn goes round, so that a node which reaches
// nothing does not keep a lane down for all.
func (l *lane) probes() bool { return l.nodes > 0 && max(0, l.failures-1)%l.nodes == l.place }

// condition is what other nodes are to know.
func (l *lane) condition() LaneCondition {
	c := LaneCondition{Lane: l.name, Paused: l.paused}
	if l.failures > 0 {
		c.Failures, c.Probe = l.failures, l.probe
		if l.cause != nil {
			c.Cause = causeText(l.cause)
		}
	}
	if l.failures > 0 || l.paused != "" {
		c.Since = l.since
	}
	return c
}

// share tells other nodes what has changed of a lane.
func (ls *lanes) share(l *lane) {
	if ls.sharer == nil {
		return
	}
	if c := l.condition(); c != l.shared {
		l.shared = c
		ls.sharer.TellLane(c)
	}
}

// hear heeds what other nodes found out, and that they came or went.
func (ls *lanes) hear(at time.Time) {
	if ls.sharer == nil {
		return
	}
	conditions, moved := ls.sharer.HearLanes()
	if len(conditions) == 0 && !moved {
		return
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, c := range conditions {
		if l := ls.m[c.Lane]; l == nil && c.Failures == 0 && c.Paused == "" {
			continue
		}
		l := ls.get(c.Lane)
		l.heed(c, at)
		ls.tell(l, at)
	}
	if moved {
		for _, l := range ls.m {
			ls.find(l)
			l.divide(at)
			ls.tell(l, at)
		}
	}
}

// heed makes another node's word this one's.
func (l *lane) heed(c LaneCondition, at time.Time) {
	if c.Failures > 0 && l.failures == 0 {
		l.atOnce, l.good, l.fell = firstAtOnce, false, at
	}
	if c.Paused == "" {
		l.fell = c.Since // zero where it is up
	}
	l.failures, l.probe, l.since, l.paused, l.cause, l.suspect = c.Failures, c.Probe, c.Since, c.Paused, nil, suspicion{}
	if c.Failures > 0 {
		l.cause = errors.New(c.Cause)
	}
	l.shared, l.used = l.condition(), at
}
