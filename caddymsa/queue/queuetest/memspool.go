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

// MemSpool is a queue.OpenSpool in memory, for tests: it forgets all when the
// process ends. The zero value is not ready; use NewMemSpool.
type MemSpool struct {
	// Fault is asked before the spool does something, and its error is what the
	// caller gets instead. op is "create", "commit", "lease", "open" or "record";
	// e is nil for "create" and "lease". Set it before the spool is used.
	Fault func(op string, e *queue.Entry) error

	mu     sync.Mutex
	closed bool
	epoch  int // of Reopen: leases and drafts from before it are dead
	byID   map[string]*memEntry
	due    []*memEntry // not leased and not held, by Next and then id
	notify chan struct{}
	served map[string]int // user to the number of the lease that was last given
	leases int
}

type memEntry struct {
	queue.Entry
	at      time.Time // due: Next, or what Postpone said
	message []byte
	leased  bool
}

// NewMemSpool returns an empty spool.
func NewMemSpool() *MemSpool {
	return &MemSpool{byID: make(map[string]*memEntry), served: make(map[string]int), notify: make(chan struct{}, 1)}
}

// Close implements io.Closer.
func (s *MemSpool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// Reopen opens the spool again, as it would be after a crash: what was leased is
// due again, drafts are gone.
func (s *MemSpool) Reopen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = false
	s.epoch++
	for _, m := range s.byID {
		if m.leased {
			s.giveBack(m)
		}
	}
}

// Notify implements queue.Notifier.
func (s *MemSpool) Notify() <-chan struct{} { return s.notify }

func (s *MemSpool) wake() {
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

func (s *MemSpool) fault(op string, e *queue.Entry) error {
	if s.Fault != nil {
		return s.Fault(op, e)
	}
	return nil
}

// enter locks the spool, unless it is closed or ctx has ended.
func (s *MemSpool) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return queue.ErrClosed
	}
	return nil
}

func compareDue(a, b *memEntry) int {
	return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.ID, b.ID))
}

func (s *MemSpool) giveBack(m *memEntry) { s.giveBackAt(m, m.Next) }

func (s *MemSpool) giveBackAt(m *memEntry, at time.Time) {
	m.leased, m.at = false, at
	if m.Held == "" {
		i, _ := slices.BinarySearchFunc(s.due, m, compareDue)
		s.due = slices.Insert(s.due, i, m)
	}
	s.wake()
}

// take makes a waiting entry the caller's.
func (s *MemSpool) take(m *memEntry) {
	m.leased = true
	switch at, ok := slices.BinarySearchFunc(s.due, m, compareDue); {
	case ok && at == 0:
		s.due[0], s.due = nil, s.due[1:]
	case ok:
		s.due = slices.Delete(s.due, at, at+1)
	}
}

// Lease implements queue.Spool.
func (s *MemSpool) Lease(ctx context.Context, now time.Time) (queue.Lease, time.Time, error) {
	if err := s.fault("lease", nil); err != nil {
		return nil, time.Time{}, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, time.Time{}, err
	}
	defer s.mu.Unlock()
	if len(s.due) == 0 {
		return nil, time.Time{}, queue.ErrNoneDue
	}
	if m := s.due[0]; m.at.After(now) {
		return nil, m.at, queue.ErrNoneDue
	}
	m := s.turn(now)
	s.take(m)
	s.leases++
	s.served[m.User] = s.leases
	return &memLease{s: s, m: m, e: clone(&m.Entry), epoch: s.epoch}, time.Time{}, nil
}

// turn is the due entry of the highest priority whose user has waited longest, or now and then
// just the one due first.
func (s *MemSpool) turn(now time.Time) *memEntry {
	best := s.due[0]
	if s.leases%8 == 7 {
		return best
	}
	for _, m := range s.due[1:] {
		if m.at.After(now) {
			break
		}
		if m.Priority > best.Priority || m.Priority == best.Priority && s.served[m.User] < s.served[best.User] {
			best = m
		}
	}
	return best
}

// Get implements queue.Operator.
func (s *MemSpool) Get(ctx context.Context, id string) (*queue.Entry, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if m := s.byID[id]; m != nil {
		return clone(&m.Entry), nil
	}
	return nil, queue.ErrNotFound
}

// List implements queue.Operator.
func (s *MemSpool) List(ctx context.Context, after string, yield func(*queue.Entry) bool) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	var all []*queue.Entry
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		if id > after {
			all = append(all, clone(&s.byID[id].Entry))
		}
	}
	s.mu.Unlock()
	for _, e := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !yield(e) {
			return nil
		}
	}
	return nil
}

// Update implements queue.Operator.
func (s *MemSpool) Update(ctx context.Context, id string, change func(*queue.Entry) *queue.Entry) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	m := s.byID[id]
	switch {
	case m == nil:
		return queue.ErrNotFound
	case m.leased:
		return queue.ErrLeased
	}
	e := change(clone(&m.Entry))
	if e != nil && e.ID != id {
		return fmt.Errorf("entry %s cannot become %s", id, e.ID)
	}
	s.take(m)
	s.store(m, e)
	return nil
}

// store gives a taken entry back as e, or deletes it.
func (s *MemSpool) store(m *memEntry, e *queue.Entry) {
	if e == nil || e.Done() {
		delete(s.byID, m.ID)
		return
	}
	m.Entry = *clone(e)
	s.giveBack(m)
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

// Submit stores an entry with its message.
func (s *MemSpool) Submit(e *queue.Entry, message []byte) error {
	d, err := s.Create(context.Background())
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(message); err != nil {
		return err
	}
	return d.Commit(context.Background(), e, nil)
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

func (d *memDraft) Commit(ctx context.Context, e *queue.Entry, header []byte) error {
	if err := d.s.fault("commit", e); err != nil {
		return err
	}
	if err := d.s.enter(ctx); err != nil {
		return err
	}
	defer d.s.mu.Unlock()
	if d.ended || d.epoch != d.s.epoch {
		return errDraftEnded
	}
	if d.s.byID[e.ID] != nil {
		return fmt.Errorf("there is an entry %s already", e.ID)
	}
	d.ended = true
	m := &memEntry{Entry: *clone(e), message: slices.Concat(header, d.body)}
	d.s.byID[e.ID] = m
	d.s.giveBack(m)
	return nil
}

func (d *memDraft) Abort() { d.ended, d.body = true, nil }

type memLease struct {
	s     *MemSpool
	m     *memEntry
	e     *queue.Entry
	epoch int
	ended bool
}

var errLeaseEnded = errors.New("the lease has ended")

func (l *memLease) Entry() *queue.Entry { return l.e }

func (l *memLease) Open() (io.ReadSeekCloser, error) {
	if err := l.s.fault("open", l.e); err != nil {
		return nil, err
	}
	return memMessage{bytes.NewReader(l.m.message)}, nil
}

type memMessage struct{ *bytes.Reader }

func (memMessage) Close() error { return nil }

// Record leaves the lease as it is when it fails.
func (l *memLease) Record(ctx context.Context, e *queue.Entry) error {
	if err := l.s.fault("record", e); err != nil {
		return err
	}
	if err := l.s.enter(ctx); err != nil {
		return err
	}
	defer l.s.mu.Unlock()
	if l.ended || l.epoch != l.s.epoch {
		return errLeaseEnded
	}
	l.ended = true
	l.s.store(l.m, e)
	return nil
}

// Postpone implements queue.Postponer.
func (l *memLease) Postpone(until time.Time) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.ended || l.epoch != l.s.epoch {
		return
	}
	l.ended = true
	l.s.giveBackAt(l.m, until)
}

func (l *memLease) Release() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.ended || l.epoch != l.s.epoch {
		return
	}
	l.ended = true
	l.s.giveBack(l.m)
}

// clone copies what a caller may change.
func clone(e *queue.Entry) *queue.Entry {
	c := *e
	c.Recipients = slices.Clone(e.Recipients)
	c.Attributes = maps.Clone(e.Attributes)
	return &c
}
