// Package queuetest helps to test what stands on either side of a queue: sinks,
// generations and the queue itself.
package queuetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// MemSpool is a queue.OpenSpool in memory, for tests: it forgets all when the process ends. It is
// simple rather than quick, so that it can be believed. Node opens the same spool once more, as
// another node would. Use NewMemSpool.
type MemSpool struct {
	// Fault is asked before the spool does something, and its error is what the
	// caller gets instead. op is "create", "commit", "lease", "open" or "record";
	// e is nil for "create" and "lease". Set it before the spool is used.
	Fault func(op string, e *queue.Entry) error

	*memStore
	notify chan struct{}
	lanes  map[string]queue.LaneState
	held   map[string]int // leased by this node, by lane
	closed bool
	epoch  int // of Reopen: leases and drafts from before it are dead
	cut    bool
	latest time.Time
	share  memShare
}

// memStore is what the nodes share.
type memStore struct {
	mu         sync.Mutex
	byID       map[string]*memEntry
	nodes      []*MemSpool
	turns      int
	joined     int // nodes so far that deliver
	conditions map[string]queue.LaneCondition
	once       map[[32]byte]remembered
	served     map[string]int // user, and user in lane, to the number of the turn that was last given
}

type remembered struct {
	id    string
	until time.Time
}

type memEntry struct {
	entry   *queue.Entry
	status  queue.Status
	jobs    []*memJob
	next    int
	message []byte
	special *memJob // leased: the one that follows from the status
}

type memJob struct {
	queue.Job
	lease *memLease // who has it
}

// NewMemSpool returns an empty spool.
func NewMemSpool() *MemSpool {
	return (&MemSpool{memStore: &memStore{byID: make(map[string]*memEntry), served: make(map[string]int), once: make(map[[32]byte]remembered), conditions: make(map[string]queue.LaneCondition)}}).Node()
}

// Node opens the spool once more.
func (s *MemSpool) Node() *MemSpool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &MemSpool{memStore: s.memStore, notify: make(chan struct{}, 1), lanes: make(map[string]queue.LaneState), held: make(map[string]int)}
	s.nodes = append(s.nodes, n)
	return n
}

// Close implements io.Closer. What this node has leased is due again.
func (s *MemSpool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.leave()
	return nil
}

// Reopen opens the spool again, as it would be after a crash: what was leased is
// due again, drafts are gone.
func (s *MemSpool) Reopen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.cut = false, false
	s.epoch++
	s.leave()
}

// Cut has the node out of touch with the spool, so that its leases have ended, others have its part
// of the lanes, and all it asks for fails; Heal is the end of that.
func (s *MemSpool) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	s.leave()
}

// Heal ends Cut.
func (s *MemSpool) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = false
}

func (s *MemSpool) endLeases() {
	for _, m := range s.byID {
		for _, j := range append(slices.Clone(m.jobs), m.special) {
			if j != nil && j.lease != nil && j.lease.s == s {
				close(j.lease.lost)
				s.giveBack(m, j)
			}
		}
	}
	s.wake()
}

// Notify implements queue.Notifier.
func (s *MemSpool) Notify() <-chan struct{} { return s.notify }

func (s *MemSpool) wake() {
	for _, n := range s.nodes {
		select {
		case n.notify <- struct{}{}:
		default:
		}
	}
}

func (s *MemSpool) fault(op string, e *queue.Entry) error {
	if s.Fault != nil {
		return s.Fault(op, e)
	}
	return nil
}

var errCut = errors.New("the node is out of touch")

// enter locks the spool, unless it is closed or ctx has ended.
func (s *MemSpool) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return queue.ErrClosed
	case s.cut:
		s.mu.Unlock()
		return errCut
	}
	return nil
}

// SetLane implements queue.Spool.
func (s *MemSpool) SetLane(name string, state queue.LaneState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes[name] = state
	s.shrunk(name)
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

// candidate is a job that may be leased.
type candidate struct {
	m   *memEntry
	j   *memJob
	due time.Time
}

// Lease implements queue.Spool.
func (s *MemSpool) Lease(ctx context.Context, now time.Time, want queue.Want) (queue.Lease, time.Time, error) {
	if err := s.fault("lease", nil); err != nil {
		return nil, time.Time{}, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, time.Time{}, err
	}
	defer s.mu.Unlock()
	s.heed()
	if now.Before(s.latest.Add(-time.Minute)) { // the clock was ahead: nobody knows when they were to be due
		for _, m := range s.byID {
			for _, j := range m.jobs {
				if j.Due.After(now) {
					j.Due = now
				}
			}
		}
		s.latest = now
	}
	if now.After(s.latest) {
		s.latest = now
	}
	var next time.Time
	var due []candidate
	for _, m := range s.byID {
		if m.status.Held != "" {
			continue
		}
		jobs := slices.DeleteFunc(slices.Clone(m.jobs), func(j *memJob) bool { return !j.Pending() || j.lease != nil })
		if special, ok := m.status.Special(m.open()); ok && m.special == nil {
			jobs = append(jobs, &memJob{Job: special})
		}
		for _, j := range jobs {
			overdue := !j.Deadline.IsZero() && !j.Deadline.After(now)
			room := s.room(j.Lane, want)
			switch {
			case overdue, room && !j.Due.After(now):
				due = append(due, candidate{m, j, j.Due})
			default:
				for _, t := range []time.Time{j.Due, j.Deadline} {
					if t.After(now) && (next.IsZero() || t.Before(next)) {
						next = t
					}
				}
			}
		}
	}
	if len(due) == 0 {
		return nil, next, queue.ErrNoneDue
	}
	c := s.turn(due)
	l := &memLease{s: s, m: c.m, j: c.j, job: c.j.Clone(), status: c.m.status.Clone(), epoch: s.epoch, lost: make(chan struct{})}
	if c.j.Number == 0 {
		c.m.special = c.j
	}
	c.j.lease = l
	s.held[c.j.Lane]++
	return l, time.Time{}, nil
}

// room tells whether this node takes something of a lane.
func (s *MemSpool) room(lane string, want queue.Want) bool {
	state, ok := s.lanes[lane]
	switch {
	case lane == "":
		return true
	case !ok:
		state = queue.NewLane
	}
	return (state.Limit < 0 || s.held[lane] < state.Limit) && (state.Proven || !want.Proven)
}

// turn is the job of the highest priority whose user has waited longest there, or now and then the
// one whose user has waited longest whatever its priority.
func (s *MemSpool) turn(due []candidate) candidate {
	s.turns++
	low := s.turns%8 == 0
	served := func(c candidate) int {
		return s.served[c.m.entry.User+"\x00"+c.j.Lane]
	}
	best := slices.MinFunc(due, func(a, b candidate) int {
		priority := cmp.Compare(b.m.entry.Priority, a.m.entry.Priority)
		if low {
			priority = -priority
		}
		return cmp.Or(priority, cmp.Compare(served(a), served(b)), a.due.Compare(b.due), cmp.Compare(a.m.entry.ID, b.m.entry.ID), cmp.Compare(a.j.Number, b.j.Number))
	})
	s.served[best.m.entry.User+"\x00"+best.j.Lane] = s.turns
	return best
}

func (m *memEntry) open() (n int) {
	for _, j := range m.jobs {
		if j.Pending() {
			n++
		}
	}
	return n
}

func (m *memEntry) view() *queue.EntryView {
	v := &queue.EntryView{Entry: m.entry, Status: *m.status.Clone(), StatusLeased: m.special != nil}
	for _, j := range m.jobs {
		c := *j.Clone()
		c.Leased = j.lease != nil
		v.Jobs = append(v.Jobs, c)
	}
	return v
}

func (s *MemSpool) giveBack(m *memEntry, j *memJob) {
	holder := j.lease.s
	holder.held[j.Lane]--
	holder.shrunk(j.Lane)
	j.lease = nil
	if m.special == j {
		m.special = nil
	}
}

// Get implements queue.Operator.
func (s *MemSpool) Get(ctx context.Context, id string) (*queue.EntryView, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if m := s.byID[id]; m != nil {
		return m.view(), nil
	}
	return nil, queue.ErrNotFound
}

// List implements queue.Operator.
func (s *MemSpool) List(ctx context.Context, after string, yield func(*queue.EntryView) bool) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	var all []*queue.EntryView
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		if id > after {
			all = append(all, s.byID[id].view())
		}
	}
	s.mu.Unlock()
	for _, m := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !yield(m) {
			return nil
		}
	}
	return nil
}

// Change implements queue.Operator.
func (s *MemSpool) Change(ctx context.Context, id string, change func(*queue.EntryView) error) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	m := s.byID[id]
	if m == nil {
		return 0, queue.ErrNotFound
	}
	v := m.view()
	if err := change(v); err != nil {
		return 0, err
	}
	m.status = *v.Status.Clone()
	for i := range v.Jobs {
		s.put(m, v.Jobs[i].Clone())
	}
	s.endIfDone(m)
	s.wake()
	return v.InFlight(), nil
}

// put stores a job, unless somebody has it leased.
func (s *MemSpool) put(m *memEntry, j *queue.Job) {
	leased := j.Leased
	j.Leased = false
	if j.Number == 0 {
		j.Number = m.next
	}
	m.next = max(m.next, j.Number+1)
	for _, have := range m.jobs {
		if have.Number == j.Number {
			if !leased && have.lease == nil {
				have.Job = *j
			}
			return
		}
	}
	m.jobs = append(m.jobs, &memJob{Job: *j})
}

func (s *MemSpool) endIfDone(m *memEntry) {
	if m.status.Ended(m.open()) {
		delete(s.byID, m.entry.ID)
	}
}

// Delete implements queue.Operator.
func (s *MemSpool) Delete(ctx context.Context, id string) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	m := s.byID[id]
	if m == nil {
		return 0, queue.ErrNotFound
	}
	delete(s.byID, id)
	return m.view().InFlight(), nil
}

// Lanes implements queue.Operator.
func (s *MemSpool) Lanes(ctx context.Context, yield func(queue.LaneInfo) bool) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	lanes := make(map[string]*queue.LaneInfo)
	for _, m := range s.byID {
		for _, j := range m.jobs {
			if !j.Pending() || m.status.Held != "" && j.lease == nil {
				continue
			}
			l := lanes[j.Lane]
			if l == nil {
				l = &queue.LaneInfo{Name: j.Lane, Oldest: m.entry.Accepted}
				lanes[j.Lane] = l
			}
			if m.entry.Accepted.Before(l.Oldest) {
				l.Oldest = m.entry.Accepted
			}
			if j.lease != nil {
				l.Leased++
			} else {
				l.Waiting++
			}
		}
	}
	s.mu.Unlock()
	for _, l := range lanes {
		if !yield(*l) {
			break
		}
	}
	return nil
}

// InLane implements queue.Operator.
func (s *MemSpool) InLane(ctx context.Context, lane, after string, limit int) (ids []string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		if m := s.byID[id]; id > after && len(ids) < limit && m.status.Held == "" &&
			slices.ContainsFunc(m.jobs, func(j *memJob) bool { return j.Pending() && j.lease == nil && j.Lane == lane }) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Size implements queue.Operator.
func (s *MemSpool) Size(ctx context.Context) (messages int, octets int64, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, 0, err
	}
	defer s.mu.Unlock()
	for _, m := range s.byID {
		octets += m.entry.Size
	}
	return len(s.byID), octets, nil
}

// Message returns an entry's message, header first; nil when there is none.
func (s *MemSpool) Message(id string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.byID[id]; m != nil {
		return bytes.Clone(m.message)
	}
	return nil
}

// OpenMessage implements queue.MessageOpener.
func (s *MemSpool) OpenMessage(ctx context.Context, id string) (io.ReadSeekCloser, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	m := s.byID[id]
	if m == nil {
		return nil, queue.ErrNotFound
	}
	return memMessage{bytes.NewReader(m.message)}, nil
}

// Before implements queue.Rememberer.
func (s *MemSpool) Before(ctx context.Context, digest [32]byte) (string, error) {
	if err := s.enter(ctx); err != nil {
		return "", err
	}
	defer s.mu.Unlock()
	if before := s.once[digest]; time.Now().Before(before.until) {
		return before.id, nil
	}
	return "", nil
}

// Submit stores an entry with its message and its jobs; without any it is unrouted.
func (s *MemSpool) Submit(e *queue.Entry, message []byte, jobs ...queue.Job) error {
	d, err := s.Create(context.Background())
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(message); err != nil {
		return err
	}
	return d.Commit(context.Background(), &queue.Accept{Entry: e, Jobs: jobs})
}

// Create implements queue.Spool.
func (s *MemSpool) Create(ctx context.Context) (queue.Draft, error) {
	if err := s.fault("create", nil); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return &memDraft{s: s, epoch: s.epoch}, nil
}

type memDraft struct {
	s     *MemSpool
	epoch int
	body  []byte
	ended bool
}

var errDraftEnded = errors.New("the draft has ended")

func (d *memDraft) Write(p []byte) (int, error) {
	if d.ended {
		return 0, errDraftEnded
	}
	d.body = append(d.body, p...)
	return len(p), nil
}

func (d *memDraft) Reader() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(d.body[:len(d.body):len(d.body)])), nil
}

func (d *memDraft) Commit(ctx context.Context, a *queue.Accept) error {
	if err := d.s.fault("commit", a.Entry); err != nil {
		return err
	}
	if err := d.s.enter(ctx); err != nil {
		return err
	}
	defer d.s.mu.Unlock()
	return d.commit(a)
}

func (d *memDraft) commit(a *queue.Accept) error {
	if d.ended || d.epoch != d.s.epoch {
		return errDraftEnded
	}
	if d.s.byID[a.Entry.ID] != nil {
		return fmt.Errorf("there is an entry %s already", a.Entry.ID)
	}
	if a.Once != nil {
		if before := d.s.once[a.Once.Digest]; time.Now().Before(before.until) {
			return &queue.BeforeError{ID: before.id}
		}
		d.s.once[a.Once.Digest] = remembered{a.Entry.ID, time.Now().Add(a.Once.Keep)}
	}
	d.ended = true
	m := &memEntry{entry: a.Entry, message: slices.Concat(a.Header, d.body), next: 1}
	m.status.Held = a.Held
	jobs := a.Jobs
	if jobs == nil {
		jobs = []queue.Job{queue.NewJob(a.Entry)}
	}
	for i := range jobs {
		d.s.put(m, jobs[i].Clone())
	}
	d.s.byID[a.Entry.ID] = m
	d.s.wake()
	return nil
}

func (d *memDraft) Abort() { d.ended, d.body = true, nil }

type memLease struct {
	s      *MemSpool
	m      *memEntry
	j      *memJob
	job    *queue.Job
	status *queue.Status
	epoch  int
	ended  bool
	lost   chan struct{}
}

func (l *memLease) Entry() *queue.Entry   { return l.m.entry }
func (l *memLease) Job() *queue.Job       { return l.job }
func (l *memLease) Status() *queue.Status { return l.status }
func (l *memLease) Lost() <-chan struct{} { return l.lost }

func (l *memLease) Open(ctx context.Context) (io.ReadSeekCloser, error) {
	if err := l.s.fault("open", l.m.entry); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return memMessage{bytes.NewReader(l.m.message)}, nil
}

func (l *memLease) Record(ctx context.Context, r *queue.Record) (err error) {
	defer func() {
		if err != nil {
			for _, m := range r.Messages {
				m.Draft.Abort()
			}
		}
	}()
	if err := l.s.fault("record", l.m.entry); err != nil {
		return err
	}
	for _, m := range r.Messages {
		if err := l.s.fault("commit", m.Entry); err != nil {
			return err
		}
	}
	if err := l.s.enter(ctx); err != nil {
		return err
	}
	s, m := l.s, l.m
	defer s.mu.Unlock()
	if l.ended {
		return queue.ErrLeaseEnded
	}
	if l.j.lease != l {
		l.ended = true
		return queue.ErrLost
	}
	for _, m := range r.Messages {
		if s.byID[m.Entry.ID] != nil {
			return fmt.Errorf("there is an entry %s already", m.Entry.ID)
		}
	}
	l.ended = true
	s.giveBack(m, l.j)
	if s.byID[m.entry.ID] != m { // the operator deleted it
		for _, m := range r.Messages {
			m.Draft.Abort()
		}
		s.wake()
		return nil
	}
	for i := range r.Messages {
		if err := r.Messages[i].Draft.(*memDraft).commit(&r.Messages[i].Accept); err != nil {
			return err
		}
	}
	for _, j := range m.status.Apply(r, l.status, m.next) {
		s.put(m, &j)
	}
	if r.Remove && (l.job.Kind != queue.Bury || m.status.Buries(m.open())) {
		delete(s.byID, m.entry.ID)
	}
	s.endIfDone(m)
	s.wake()
	return nil
}

func (l *memLease) Release() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.ended || l.j.lease != l {
		return
	}
	l.ended = true
	l.s.giveBack(l.m, l.j)
	l.s.wake()
}

type memMessage struct{ *bytes.Reader }

func (memMessage) Close() error { return nil }

// Interface guards
var (
	_ queue.OpenSpool  = (*MemSpool)(nil)
	_ queue.Notifier   = (*MemSpool)(nil)
	_ queue.LaneSharer = (*MemSpool)(nil)
)
