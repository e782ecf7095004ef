// Package queuetest helps to test what stands on either side of a queue: sinks,
// generations and the queue itself.
package queuetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
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
	limits journal.Limits
	notes  journal.Notes
	claims []*memClaim
	due    []candidate // of the last Lease, for its room
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
	journal    memJournal
	last       map[string]*memJob // that was leased in a lane
	served     map[string]int     // user, and user in lane, to the number of the turn that was last given
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
	return (&MemSpool{memStore: &memStore{byID: make(map[string]*memEntry), served: make(map[string]int), last: make(map[string]*memJob), once: make(map[[32]byte]remembered), conditions: make(map[string]queue.LaneCondition),
		journal: memJournal{cursors: make(map[string]int64), claimed: make(map[string]chan struct{})}}}).Node()
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

// SetFault sets Fault.
func (s *MemSpool) SetFault(fault func(op string, e *queue.Entry) error) { s.Fault = fault }

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
	return Submit(s, e, message, jobs...)
}

// Submit is MemSpool.Submit for any spool.
func Submit(s queue.Spool, e *queue.Entry, message []byte, jobs ...queue.Job) error {
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

type memMessage struct{ *bytes.Reader }

func (memMessage) Close() error { return nil }

// Interface guards
var (
	_ queue.OpenSpool  = (*MemSpool)(nil)
	_ queue.Notifier   = (*MemSpool)(nil)
	_ queue.LaneSharer = (*MemSpool)(nil)
)
