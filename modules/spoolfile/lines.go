package spoolfile

// Priorities of a message (RFC 6710 section 4.1).
const (
	lowestPriority  = -9
	highestPriority = 9
)

// lowTurn: of so many turns one goes to a lower priority, so that none waits for ever.
const lowTurn = 8

// lines are the entries that are due: a line for each user at each priority. Users take turns,
// so that nobody waits behind all of somebody else's.
type lines struct {
	levels [highestPriority - lowestPriority + 1]level
	// low is the level that the next lower turn begins to look at.
	turns, low int
}

// level are the lines of one priority in the order of their turns.
type level struct {
	users map[uint64]*line
	ring  []*line
	head  int // of ring: what stands before is gone
}

// line is one user's, in the order in which they came due.
type line struct {
	user  uint64
	items waiting
}

func levelOf(it *item) int { return int(it.rec.priority) - lowestPriority }

// add puts an item in its line.
func (l *lines) add(it *item) {
	lv := &l.levels[levelOf(it)]
	ln := lv.users[it.rec.user]
	if ln == nil {
		if lv.users == nil {
			lv.users = make(map[uint64]*line)
		}
		ln = &line{user: it.rec.user}
		lv.users[ln.user] = ln
		lv.ring = append(lv.ring, ln)
	}
	ln.items.put(it)
}

// take returns the item whose turn it is, and takes it out; nil when all lines are empty.
func (l *lines) take() *item {
	l.turns++
	if l.turns%lowTurn == 0 {
		for range l.levels {
			l.low = (l.low + 1) % len(l.levels)
			if it := l.levels[l.low].take(); it != nil {
				return it
			}
		}
		return nil
	}
	for i := len(l.levels) - 1; i >= 0; i-- {
		if it := l.levels[i].take(); it != nil {
			return it
		}
	}
	return nil
}

// take takes the first of the line whose turn it is, and sends that line to the end of the ring.
// A line that is empty leaves the ring when its turn comes.
func (lv *level) take() *item {
	for lv.head < len(lv.ring) {
		ln := lv.ring[lv.head]
		lv.ring[lv.head] = nil
		lv.head++
		if len(ln.items) == 0 {
			delete(lv.users, ln.user)
			continue
		}
		it := ln.items[0]
		ln.items.drop(it)
		lv.ring = append(lv.ring, ln)
		if lv.head > 32 && lv.head*2 > len(lv.ring) { // half of its room is what is gone
			n := copy(lv.ring, lv.ring[lv.head:])
			clear(lv.ring[n:])
			lv.ring, lv.head = lv.ring[:n], 0
		}
		return it
	}
	lv.ring, lv.head = nil, 0
	return nil
}
