package notify

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// A lane that fails while others do not is put aside: it gets a cursor of its own, and the follower's goes on.
const (
	maxSlots = 1024
	maxAside = 50 // events in memory of a lane that was put aside; what follows stays in the journal
	maxKnown = 100_000
	// patience is how long a lane that fails may hold the follower's cursor.
	patience = 5 * time.Second
	// giveUp is when an event of a lane that was put aside is given up; by default the journal keeps it for as long.
	giveUp = journal.DefaultKeep
	// giveWay is when a lane must have failed for others to have its slot, where all are taken.
	giveWay = time.Hour
)

func (t *tail) slotName(slot int) string { return fmt.Sprintf("%s/%d", t.Name, slot) }

// putAside has lanes that fail not hold the cursor.
func (t *tail) putAside(now time.Time) {
	for first := t.waiting.Front(); first != nil; first = t.waiting.Front() {
		it := first.Value.(*item)
		l := it.lane
		if t.receiver.down || l.failures == 0 || now.Sub(l.since) < patience {
			return
		}
		slot := t.freeSlot(now)
		if slot < 0 {
			return
		}
		if err := t.Journal.SetCursor(t.ctx, t.slotName(slot), it.before); err != nil {
			t.complain("cannot write down what was told; it may be told again", zap.Error(err))
			return
		}
		l.slot, t.slots[slot] = slot, l
		for _, it := range l.items {
			t.waiting.Remove(it.place)
			it.place = nil
		}
	}
}

// freeSlot finds one. Where all are taken, the lane gives way that has failed for longest; -1: none has for long enough.
func (t *tail) freeSlot(now time.Time) int {
	if i := slices.Index(t.slots, nil); i >= 0 {
		return i
	}
	var worst *lane
	for _, l := range t.slots {
		if !l.busy && l.failures > 0 && now.Sub(l.since) >= giveWay && (worst == nil || l.since.Before(worst.since)) {
			worst = l
		}
	}
	if worst == nil {
		return -1
	}
	slot := worst.slot
	delete(t.failing, worst)
	t.abandon(worst, len(worst.items), zap.Bool("and_more", worst.more))
	worst.more, worst.marks = false, nil
	t.leaveSlot(worst)
	if t.slots[slot] != nil {
		return -1
	}
	return slot
}

// leaveSlot forgets a lane of which all was told.
func (t *tail) leaveSlot(l *lane) {
	if err := t.Journal.DropCursor(t.ctx, t.slotName(l.slot)); err != nil {
		t.complain("cannot write down what was told; it may be told again", zap.Error(err))
		t.starved = append(t.starved, l)
		return
	}
	t.slots[l.slot], l.slot = nil, -1
	delete(t.lanes, l.key)
}

// saveAside writes down how far the lanes came that were put aside, and tells whether all could be.
func (t *tail) saveAside() (ok bool) {
	starved := t.starved
	t.starved = nil
	for _, l := range starved {
		if l.aside() && len(l.items) == 0 {
			t.next(l)
		}
	}
	ok = true
	for _, l := range t.slots {
		if l == nil || !l.moved || len(l.items) == 0 {
			continue
		}
		at, err := t.before(l)
		if err == nil {
			err = t.Journal.SetCursor(t.ctx, t.slotName(l.slot), at)
		}
		if err != nil {
			t.complain("cannot write down what was told; it may be told again", zap.Error(err))
			ok = false
			continue
		}
		l.moved = false
	}
	return ok
}

// before is the place before the first event of a lane: from there on, its fact is the first.
func (t *tail) before(l *lane) (journal.Position, error) {
	first := l.items[0]
	if first.before != "" {
		return first.before, nil
	}
	at := l.last.at() // if nothing is left between the two
	err := t.Journal.Facts(t.ctx, &journal.Query{Before: first.at()}, func(f *journal.Fact) bool {
		at = f.Position
		return false
	})
	if err == nil {
		first.before = at
	}
	return at, err
}

// loadAside reads the lanes that were put aside before.
func (t *tail) loadAside(ctx context.Context) error {
	taken, err := t.slotsTaken(ctx)
	if err != nil {
		return err
	}
	for _, slot := range taken {
		name := t.slotName(slot)
		at, err := t.Journal.Cursor(ctx, name)
		if err != nil {
			return err
		}
		if at == "" {
			continue
		}
		facts, err := t.Journal.Follow(ctx, at, 1)
		if err != nil {
			return err
		}
		key := ""
		if len(facts) > 0 {
			key, _ = t.laneOf(&facts[0])
		}
		if key == "" || t.lanes[key] != nil { // nothing is left, or another slot has it
			if err := t.Journal.DropCursor(ctx, name); err != nil {
				return err
			}
			continue
		}
		l := t.lane(key)
		l.slot, t.slots[slot] = slot, l
		l.last = &item{event: NewEvent(&facts[0])}
		if err := t.reload(ctx, l); err != nil {
			return err
		}
		if e := t.choose(&facts[0]); e != nil {
			l.items = append([]*item{{event: e, before: at, lane: l}}, l.items...)
		}
		t.next(l)
	}
	return nil
}

// reload reads what follows the last event of a lane that has none in memory, up to so much.
func (t *tail) reload(ctx context.Context, l *lane) error {
	_, q := t.laneOf(l.last.event.Fact)
	if q == nil {
		l.more = false
		return nil
	}
	for {
		q.Before = "" // to the end of the journal, if no mark is left
		if n := len(l.marks); n > 0 {
			q.Before, l.marks = l.marks[n-1], l.marks[:n-1]
		}
		if err := t.load(ctx, l, q); err != nil {
			l.more, l.marks = true, nil
			return err
		}
		if len(l.items) > 0 || q.Before == "" {
			return nil
		}
	}
}

// load reads what a query finds after the last event of a lane, the latest first, and keeps the oldest of it. Of what stays in
// the journal it marks the place now and then: else all of it would be read again for every few events.
func (t *tail) load(ctx context.Context, l *lane, q *journal.Query) error {
	last := l.last.event.Fact
	l.more = q.Before != ""
	var found []*item // the latest first
	left := 0
	err := t.Journal.Facts(ctx, q, func(f *journal.Fact) bool {
		if f.Position == last.Position {
			return false
		}
		kept := *f
		key, _ := t.laneOf(&kept)
		e := t.choose(&kept)
		if e == nil || key != l.key {
			return true
		}
		if len(found) >= maxAside {
			if left++; left%maxAside == 0 {
				l.marks = append(l.marks, found[0].at())
			}
			l.more = true
			found = found[1:]
		}
		found = append(found, &item{event: e, lane: l})
		return true
	})
	if err != nil {
		return err
	}
	slices.Reverse(found)
	l.items = found
	if t.known == nil || len(t.known) > maxKnown { // rather told again than without end
		t.known = make(map[journal.Position]bool)
	}
	t.known[last.Position] = true
	for _, it := range found {
		t.known[it.at()] = true
	}
	return nil
}
