package notify

import (
	"container/list"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// lane are events that are told one after the other: those of a message, or of a user.
type lane struct {
	key   string
	items []*item // the first is told next, or now
	busy  bool

	failures int
	since    time.Time // of the first failure since the last success
	due      time.Time // if it has failed
	refused  bool      // the last failure was about the event

	// slot is where a lane that was put aside has its cursor; -1: it was not.
	slot  int
	moved bool // its cursor is to be written
	// more: there is more in the journal than items has.
	more  bool
	marks []journal.Position // of some of it, the latest first
	last  *item              // that was taken off
}

// item is an event in a lane.
type item struct {
	event  *Event
	before journal.Position // the place before it; "": it is found when it is needed
	lane   *lane
	place  *list.Element // in tail.waiting; nil if the lane was put aside
}

// aside tells whether the lane has a cursor of its own.
func (l *lane) aside() bool { return l.slot >= 0 }

// laneOf names the lane of a fact, and the query that finds all its facts; nil: it is alone in it.
func (t *tail) laneOf(f *journal.Fact) (key string, q *journal.Query) {
	switch {
	case t.ByUser && f.User != "":
		return "user " + journal.Fold(f.User), &journal.Query{User: f.User}
	case f.ID != "":
		return "id " + f.ID, &journal.Query{ID: f.ID}
	}
	return "fact " + string(f.Position), nil
}

// lane returns the one with that key.
func (t *tail) lane(key string) *lane {
	l := t.lanes[key]
	if l == nil {
		l = &lane{key: key, slot: -1}
		t.lanes[key] = l
	}
	return l
}

// add has an event told after the others of its lane.
func (t *tail) add(e *Event, before journal.Position) {
	key, _ := t.laneOf(e.Fact)
	if t.known[e.Fact.Position] {
		delete(t.known, e.Fact.Position)
		return
	}
	l := t.lane(key)
	if l.aside() && (l.more || len(l.items) >= maxAside) {
		l.more = true
		return
	}
	it := &item{event: e, before: before, lane: l}
	if !l.aside() {
		it.place = t.waiting.PushBack(it)
	}
	l.items = append(l.items, it)
	if len(l.items) == 1 {
		t.enqueue(l)
	}
}

// enqueue has a lane taken when its turn comes.
func (t *tail) enqueue(l *lane) {
	if l.failures == 0 {
		t.ready.PushBack(l)
	} else {
		t.failing[l] = true
	}
}

// pick returns the lane whose turn it is, and takes it out of those that wait; nil: none.
func (t *tail) pick(now time.Time) *lane {
	if first := t.ready.Front(); first != nil {
		return t.ready.Remove(first).(*lane)
	}
	if t.ByUser && t.trying >= max(1, t.Concurrency/4) {
		return nil
	}
	var next *lane
	for l := range t.failing { // who has failed least, then who waits longest
		if l.due.After(now) && !t.probes(l) {
			continue
		}
		if next == nil || l.failures < next.failures || l.failures == next.failures && l.due.Before(next.due) {
			next = l
		}
	}
	if next != nil {
		delete(t.failing, next)
	}
	return next
}

// probes tells whether a lane may be told before its time, to find out whether the receiver is back: what failed since it is down.
func (t *tail) probes(l *lane) bool {
	return t.receiver.down && !l.since.Before(t.receiver.since)
}

// pop takes the first event off: nothing more is to be told of it.
func (t *tail) pop(l *lane) {
	it := l.items[0]
	l.items[0] = nil
	l.items = l.items[1:]
	if it.place != nil {
		t.waiting.Remove(it.place)
	}
	l.last, l.moved = it, l.aside()
}

func (it *item) at() journal.Position { return it.event.Fact.Position }
