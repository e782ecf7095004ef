package spoolfile

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// entry is what is kept in memory of a message.
type entry struct {
	id       string
	user     uint64 // who takes turns with others: a hash of the user's name
	file     uint64 // number of the file that holds the body; 0: it is in the store
	size     int64  // octets in that file, or of header and body in the store
	accepted int64
	envelope int32
	next     int32  // number of the next job that is new
	sum      uint32 // checksum of the file
	priority int8
	flags    atomic.Uint32
	// first is one of its jobs, if it has a number; the others are linked by sibling. One without a number among those
	// follows from the status.
	first job
}

// Flags of an entry.
const (
	entryHeld   = 1 << iota
	entryStatus // a status is stored
	entryBroken // it could not be read; it waits for the operator
	entryGone   // it was deleted while somebody had a pointer to it
	entrySummed // sum is known; versions before did not write it
	entryProven // its octets were written, or read, by this process
	entryDead   // it is a dead letter
	entryKnown  // it is in the schedule
)

func (e *entry) is(flag uint32) bool { return e.flags.Load()&flag != 0 }

func (e *entry) set(flag uint32, on bool) {
	if on {
		e.flags.Or(flag)
	} else {
		e.flags.And(^flag)
	}
}

// states counts messages by what is to become of them. What is neither is queued.
type states struct{ held, dead atomic.Int64 }

// of is the count that a message with these flags belongs to, or nil.
func (t *states) of(flags uint32) *atomic.Int64 {
	switch {
	case flags&entryKnown == 0, flags&entryGone != 0:
		return nil
	case flags&(entryHeld|entryBroken) != 0:
		return &t.held
	case flags&entryDead != 0:
		return &t.dead
	}
	return nil
}

// mark sets a flag that the counts of states go by.
func (s *schedule) mark(e *entry, flag uint32, on bool) {
	var before, after uint32
	if on {
		before = e.flags.Or(flag)
		after = before | flag
	} else {
		before = e.flags.And(^flag)
		after = before &^ flag
	}
	if c := s.states.of(before); c != nil {
		c.Add(-1)
	}
	if c := s.states.of(after); c != nil {
		c.Add(1)
	}
}

// job is what is kept in memory of a job.
type job struct {
	e        *entry
	sibling  *job
	lane     *lane
	before   *job // in the lane, which has them by age
	after    *job
	line     *line // in which it is due; nil: it waits for its time
	lease    *lease
	due      int64
	deadline int64
	place    int32 // in the heap of its line, or of those that wait
	urgent   int32 // in the heap of deadlines
	number   int32
	ended    bool
	stored   bool // has a record of its own
	listed   bool // is in its lane's list
	copied   bool // is of a copy
}

// schedule knows all jobs, when each is due, and whose turn it is among those that are.
type schedule struct {
	mu        sync.Mutex
	entries   index
	states    states
	many      map[*entry]*jobIndex // of those with many jobs that were asked about
	lanes     map[string]*lane
	nameless  *lane
	wait      heapOf[*job, byDue]
	deadlines heapOf[*job, byDeadline]
	turns     turns
	latest    int64 // the latest time that was asked for
}

func newSchedule() *schedule {
	s := &schedule{entries: newIndex(), lanes: make(map[string]*lane)}
	s.nameless = s.lane("")
	s.nameless.state = queue.LaneState{Limit: -1, Proven: true}
	return s
}

// byDue is the order of jobs that wait, and of one user's that are due.
type byDue struct{}

func (byDue) less(a, b *job) bool {
	switch {
	case a.due != b.due:
		return a.due < b.due
	case a.e != b.e:
		return a.e.id < b.e.id
	}
	return a.number < b.number
}
func (byDue) place(j *job) *int32 { return &j.place }

type byDeadline struct{}

func (byDeadline) less(a, b *job) bool { return a.deadline < b.deadline }
func (byDeadline) place(j *job) *int32 { return &j.urgent }

// lane returns the lane of a name, which is made if there is none.
func (s *schedule) lane(name string) *lane {
	l := s.lanes[name]
	if l == nil {
		l = &lane{name: name, state: queue.NewLane}
		s.lanes[name] = l
	}
	return l
}

// forget drops a lane of which nothing is to be known.
func (s *schedule) forgetLane(l *lane) {
	if l.head == nil && l.leased == 0 && len(l.lines.items) == 0 && l.state == queue.NewLane && s.lanes[l.name] == l && l != s.nameless {
		delete(s.lanes, l.name)
	}
}

// clockBack is by how much time must go back for the clock to have been set.
const clockBack = int64(time.Minute)

// promote makes jobs due whose time, or whose deadline, has come.
func (s *schedule) promote(now int64) {
	if now < s.latest-clockBack { // the clock was ahead: nobody knows when they were to be due
		for _, j := range s.wait.items {
			j.due = min(j.due, now)
		}
		for _, j := range s.deadlines.items {
			if j.e.accepted > now+clockAhead {
				j.deadline = min(j.deadline, now)
			}
		}
		s.latest = now
		s.wait.order()
		s.deadlines.order()
	}
	s.latest = max(s.latest, now)
	for len(s.wait.items) > 0 && s.wait.items[0].due <= now {
		j := s.wait.items[0]
		s.wait.drop(j)
		s.turns.add(j, j.lane)
	}
	for len(s.deadlines.items) > 0 && s.deadlines.items[0].deadline <= now {
		j := s.deadlines.items[0]
		s.deadlines.drop(j)
		if j.line != nil && j.line.lane == s.nameless {
			continue
		}
		s.unplace(j)
		s.turns.add(j, s.nameless)
	}
}

// unplace takes a waiting job out of where it waits for its time or turn.
func (s *schedule) unplace(j *job) {
	switch {
	case j.line != nil:
		s.turns.remove(j)
	default:
		s.wait.drop(j)
	}
}

// take leases the job whose turn it is, or says when one is due.
func (s *schedule) take(now time.Time, want queue.Want) (*job, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promote(nanos(now))
	if j := s.turns.take(want.Proven); j != nil {
		l := j.line0()
		j.lease = &lease{counted: l}
		l.leased, l.last = l.leased+1, j
		s.deadlines.drop(j)
		if j.listed {
			j.lane.waiting--
		}
		s.turns.refresh(l)
		return j, time.Time{}
	}
	var next int64
	if len(s.wait.items) > 0 {
		next = s.wait.items[0].due
	}
	if len(s.deadlines.items) > 0 && (next == 0 || s.deadlines.items[0].deadline < next) {
		next = s.deadlines.items[0].deadline
	}
	if next == 0 {
		return nil, time.Time{}
	}
	return nil, time.Unix(0, next)
}

// line0 is the lane out of whose line the job was taken.
func (j *job) line0() *lane {
	l := j.line.lane
	j.line = nil
	return l
}

// settle has a job wait for its time, in its lane; one that waits for nothing is in no lane.
func (s *schedule) settle(j *job) {
	if j.ended || j.e.is(entryHeld|entryBroken|entryGone) {
		s.leave(j)
		return
	}
	if !j.listed && j.number != 0 {
		j.lane = s.lane(j.lane.name) // it may have been forgotten meanwhile
		j.lane.insert(j)
	}
	if j.listed {
		j.lane.waiting++
	}
	s.wait.push(j)
	if j.deadline != 0 {
		s.deadlines.push(j)
	}
}

// unsettle takes a waiting job out of everything.
func (s *schedule) unsettle(j *job) {
	if j.lease != nil || j.ended {
		return
	}
	if j.place == 0 && j.line == nil {
		return
	}
	s.unplace(j)
	s.deadlines.drop(j)
	if j.listed {
		j.lane.waiting--
		j.lane.unlink(j)
	}
	s.forgetLane(j.lane)
}

// release ends a lease; the job goes nowhere yet.
func (s *schedule) release(j *job) {
	if j.lease == nil {
		return
	}
	l := j.lease.counted
	j.lease = nil
	l.leased--
	s.turns.refresh(l)
}

// leave takes a job that is no more out of its lane.
func (s *schedule) leave(j *job) {
	if j.listed {
		j.lane.unlink(j)
		s.forgetLane(j.lane)
	}
}

// put gives a job, which is not leased and nowhere, what is now known of it.
func (s *schedule) put(j *job, lane string, due, deadline int64, ended bool) {
	old, to := j.lane, s.lane(lane)
	if j.listed && (ended || old != to) {
		old.unlink(j)
	}
	j.lane, j.due, j.deadline = to, due, deadline
	s.setEnded(j, ended)
	s.settle(j)
	if old != nil {
		s.forgetLane(old)
	}
	s.forgetLane(to)
}

// find returns an entry.
func (s *schedule) find(id string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries.get(id)
}

// reserve makes an id known; false when there is one already.
func (s *schedule) reserve(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries.get(e.id) != nil {
		return false
	}
	s.entries.put(e)
	s.mark(e, entryKnown, true)
	return true
}

// remove drops an entry with its jobs. Those that are leased stay with their workers.
func (s *schedule) remove(e *entry) {
	s.mark(e, entryGone, true)
	delete(s.many, e)
	for j := range e.all() {
		if j.lease == nil {
			s.unsettle(j)
		}
	}
	if s.entries.get(e.id) == e {
		s.entries.remove(e)
	}
}

// open is how many jobs have something left to do.
func (e *entry) open() (n int) {
	for j := range e.jobs() {
		if !j.ended {
			n++
		}
	}
	return n
}

// copies is how many of the open jobs are of a copy.
func (e *entry) copies() (n int) {
	for j := range e.jobs() {
		if !j.ended && j.copied {
			n++
		}
	}
	return n
}

// follow sets what follows from a status: whether the entry is held, and its special job.
func (s *schedule) follow(e *entry, status *queue.Status) {
	held := status.Held != ""
	if held != e.is(entryHeld) {
		if held {
			for j := range e.all() {
				if j.lease == nil {
					s.unsettle(j)
				}
			}
		}
		s.mark(e, entryHeld, held)
		if !held {
			for j := range e.jobs() {
				if j.lease == nil {
					s.settle(j)
				}
			}
		}
	}
	open, copies := s.open(e)
	s.mark(e, entryDead, open == 0 && !status.Dead.IsZero())
	special, ok := status.Special(open, copies)
	have := s.special(e)
	if have != nil && have.lease == nil {
		s.unsettle(have)
		s.setSpecial(e, nil)
		have = nil
	}
	if ok && have == nil {
		j := &job{e: e, lane: s.nameless, due: nanos(special.Due)}
		s.setSpecial(e, j)
		s.settle(j)
	}
}

func (s *schedule) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries.n
}
