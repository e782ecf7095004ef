package spoolfile

import (
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Priorities of a message (RFC 6710 section 4.1).
const (
	lowestPriority  = -9
	highestPriority = 9
	priorities      = highestPriority - lowestPriority + 1
)

// lowTurn: of so many turns one goes to a lower priority, so that none waits forever.
const lowTurn = 8

// turns are the jobs that are due, so arranged that the next one is found and not searched for.
//
// Jobs of one user, lane and priority make a line. As long as a lane has room, its lines stand
// with their users, who take turns: who has waited longest comes first, with what is due first of
// what is due. Once a lane is full or closed its lines stand apart, in the lane: they are no
// longer in anybody's way, and when it has room again the turn is the lane's, and in it that
// of the user who has waited longest there. It stays so until the lane has nothing left that is due. One that is probed
// stands apart too.
type turns struct {
	levels [priorities][2]heapOf[*taker, byStamp] // users and lanes apart, by whether they are proven
	users  map[userKey]*user
	lines  map[lineKey]*line
	clock  uint64 // numbers the turns
	count  int
	low    int // the level that the next lower turn begins to look at
}

// taker is who takes turns: a user, or a lane that stands apart.
type taker struct {
	stamp  uint64 // of its last turn
	user   *user
	lane   *lane
	place  int32
	level  int8
	proven int8
}

type byStamp struct{}

func (byStamp) less(a, b *taker) bool { return a.stamp < b.stamp }
func (byStamp) place(n *taker) *int32 { return &n.place }

type userKey struct {
	user   uint64
	level  int8
	proven int8
}

type lineKey struct {
	lane  *lane
	user  uint64
	level int8
}

// user is one user's lines at one priority in lanes that have room.
type user struct {
	taker
	key   userKey
	lines heapOf[*line, byFirst]
}

// line is what is due of one user in one lane at one priority.
type line struct {
	lane   *lane
	user   *user // nil while the lane stands apart
	jobs   heapOf[*job, byDue]
	stamp  uint64 // of its last turn in the lane
	key    uint64
	inUser int32
	inLane int32
	level  int8
}

// byFirst is the order of a user's lines.
type byFirst struct{}

func (byFirst) less(a, b *line) bool { return byDue{}.less(a.jobs.items[0], b.jobs.items[0]) }
func (byFirst) place(l *line) *int32 { return &l.inUser }

// byTurn is the order of a lane's lines.
type byTurn struct{}

func (byTurn) less(a, b *line) bool {
	if a.level != b.level {
		return a.level > b.level
	}
	return a.stamp < b.stamp
}
func (byTurn) place(l *line) *int32 { return &l.inLane }

// lane is what is kept of one.
type lane struct {
	taker
	name    string
	state   queue.LaneState
	leased  int32
	waiting int32
	apart   bool
	count   uint32 // of the lane's own turns
	head    *job   // its jobs by age, the oldest first
	tail    *job
	last    *job // that was leased
	lines   heapOf[*line, byTurn]
}

// nearTail is how far from the tail a job is put at most that is older than others, which are not all gone through.
const nearTail = 64

// insert puts a job behind those that are no younger, or before all where none is: the head is the oldest as good as always.
func (l *lane) insert(j *job) {
	at := l.tail
	if l.head != nil && j.e.accepted < l.head.e.accepted {
		at = nil
	}
	for n := 0; at != nil && at.e.accepted > j.e.accepted && n < nearTail; n++ {
		at = at.before
	}
	j.before, j.listed = at, true
	if at == nil {
		j.after, l.head = l.head, j
	} else {
		j.after, at.after = at.after, j
	}
	if j.after == nil {
		l.tail = j
	} else {
		j.after.before = j
	}
}

func (l *lane) unlink(j *job) {
	if j.before == nil {
		l.head = j.after
	} else {
		j.before.after = j.after
	}
	if j.after == nil {
		l.tail = j.before
	} else {
		j.after.before = j.before
	}
	j.before, j.after, j.listed = nil, nil, false
}

func (l *lane) room() bool { return l.state.Limit < 0 || int(l.leased) < l.state.Limit }

func (l *lane) world() int8 {
	if l.state.Proven {
		return 1
	}
	return 0
}

func (t *turns) now() uint64 {
	t.clock++
	return t.clock
}

// add puts a job that is due in a lane's line of its user.
func (t *turns) add(j *job, l *lane) {
	key := lineKey{l, j.e.user, j.e.priority - lowestPriority}
	ln := t.lines[key]
	if ln == nil {
		if t.lines == nil {
			t.lines = make(map[lineKey]*line)
		}
		ln = &line{lane: l, key: key.user, level: key.level, stamp: t.now()}
		t.lines[key] = ln
		ln.jobs.push(j)
		j.line = ln
		l.lines.push(ln)
		t.attach(ln)
		return
	}
	j.line = ln
	ln.jobs.push(j)
	if ln.user != nil && j.place == 1 {
		ln.user.lines.fix(ln)
	}
}

// attach has a line stand where its lane says.
func (t *turns) attach(ln *line) {
	l := ln.lane
	if l.apart || !l.room() {
		t.refresh(l)
		return
	}
	key := userKey{ln.key, ln.level, l.world()}
	u := t.users[key]
	if u == nil {
		if t.users == nil {
			t.users = make(map[userKey]*user)
		}
		u = &user{key: key}
		u.taker = taker{stamp: t.now(), user: u, level: key.level, proven: key.proven}
		t.users[key] = u
		t.levels[u.level][u.proven].push(&u.taker)
	}
	ln.user = u
	u.lines.push(ln)
}

// detach takes a line away from its user, who is forgotten with the last.
func (t *turns) detach(ln *line) {
	u := ln.user
	if u == nil {
		return
	}
	ln.user = nil
	ln.stamp = u.stamp
	u.lines.drop(ln)
	if len(u.lines.items) == 0 {
		t.levels[u.level][u.proven].drop(&u.taker)
		delete(t.users, u.key)
	}
}

// remove takes a job out of its line.
func (t *turns) remove(j *job) {
	ln := j.line
	first := j.place == 1
	j.line = nil
	if len(ln.jobs.items) == 1 { // before the line is without a first job to be sorted by
		t.drop(ln)
		ln.jobs.drop(j)
		return
	}
	ln.jobs.drop(j)
	if ln.user != nil && first {
		ln.user.lines.fix(ln)
	}
}

// drop takes away a line.
func (t *turns) drop(ln *line) {
	t.detach(ln)
	ln.lane.lines.drop(ln)
	delete(t.lines, lineKey{ln.lane, ln.key, ln.level})
	t.refresh(ln.lane)
}

// refresh has a lane stand apart, take part or stay away, as its room says.
func (t *turns) refresh(l *lane) {
	room := l.room()
	switch {
	case (!room || l.state.Probe) && !l.apart:
		l.apart = true
		for _, ln := range l.lines.items {
			t.detach(ln)
		}
		for i := len(l.lines.items)/2 - 1; i >= 0; i-- { // they have other stamps now
			l.lines.down(i, l.lines.items[i])
		}
	case l.apart && room && !l.state.Probe && len(l.lines.items) == 0:
		l.apart = false
	}
	take := l.apart && room && len(l.lines.items) > 0
	if l.place != 0 && (!take || l.level != l.lines.items[0].level || l.proven != l.world()) {
		t.levels[l.level][l.proven].drop(&l.taker)
	}
	if take && l.place == 0 {
		l.taker = taker{stamp: t.now(), lane: l, level: l.lines.items[0].level, proven: l.world()}
		t.levels[l.level][l.proven].push(&l.taker)
	}
}

// set applies a lane's new state.
func (t *turns) set(l *lane, s queue.LaneState) {
	moves := l.state.Proven != s.Proven && !l.apart
	l.state = s
	if moves {
		for _, ln := range l.lines.items {
			t.detach(ln)
			t.attach(ln)
		}
	}
	t.refresh(l)
}

// take returns the job whose turn it is, out of its line, which it still names; nil if there is none.
func (t *turns) take(proven bool) *job {
	t.count++
	highest := len(t.levels) - 1
	for highest >= 0 && t.first(highest, proven) == nil {
		highest--
	}
	if highest < 0 {
		return nil
	}
	if t.count%lowTurn == 0 {
		for range t.levels {
			t.low = (t.low + 1) % len(t.levels)
			if t.low < highest && t.first(t.low, proven) != nil {
				return t.takeAt(t.low, proven)
			}
		}
	}
	return t.takeAt(highest, proven)
}

// first is who has waited longest at a level, nil if nobody does.
func (t *turns) first(level int, proven bool) (n *taker) {
	if h := &t.levels[level][1]; len(h.items) > 0 {
		n = h.items[0]
	}
	if h := &t.levels[level][0]; len(h.items) > 0 && !proven && (n == nil || h.items[0].stamp < n.stamp) {
		n = h.items[0]
	}
	return n
}

func (t *turns) takeAt(level int, proven bool) *job {
	n := t.first(level, proven)
	n.stamp = t.now()
	t.levels[n.level][n.proven].fix(n)
	var j *job
	switch {
	case n.user != nil:
		j = n.user.lines.items[0].jobs.items[0]
	case n.lane.state.Probe:
		j = n.lane.probe()
	default:
		j = n.lane.turn().jobs.items[0]
	}
	ln := j.line
	ln.stamp = n.stamp
	if n.lane != nil {
		n.lane.lines.fix(ln)
	}
	t.remove(j)
	j.line = ln
	return j
}

// turn is the line whose turn it is in a lane that stands apart.
func (l *lane) turn() *line {
	l.count++
	if l.count%lowTurn != 0 {
		return l.lines.items[0]
	}
	oldest := l.lines.items[0]
	for _, ln := range l.lines.items[1:] {
		if ln.stamp < oldest.stamp {
			oldest = ln
		}
	}
	return oldest
}

// probe is the job to probe the lane with: another than the last if there is one, of the line that has waited longest.
func (l *lane) probe() *job {
	var oldest *line
	var probe *job
	for _, ln := range l.lines.items {
		if j := ln.besides(l.last); j != nil && (oldest == nil || ln.stamp < oldest.stamp) {
			oldest, probe = ln, j
		}
	}
	if probe == nil {
		return l.last
	}
	return probe
}

// besides is the line's first job that is not the one given, nil if there is no other.
func (ln *line) besides(j *job) *job {
	first := ln.jobs.items
	switch {
	case first[0] != j:
		return first[0]
	case len(first) > 2 && (byDue{}).less(first[2], first[1]):
		return first[2]
	case len(first) > 1:
		return first[1]
	}
	return nil
}
