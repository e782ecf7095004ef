package app

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// heldDraft keeps a store open until the message is received, or is not.
type heldDraft struct {
	queue.Draft
	s    *store
	once sync.Once
	// broken is true once the spool has panicked in a reader, which may have been in another goroutine.
	broken atomic.Bool
}

// errFinished is what a store says that is empty and about to close: another configuration is in charge, with a store of its own.
var errFinished = errors.New("the spool is a former configuration's and is closed")

func (s *store) create(ctx context.Context) (*heldDraft, error) {
	s.mu.Lock()
	if s.finished {
		s.mu.Unlock()
		return nil, errFinished
	}
	s.drafts++
	s.mu.Unlock()
	var held *heldDraft
	defer func() {
		if held == nil { // also where the spool panicked
			s.received()
		}
	}()
	d, err := s.spool.Create(ctx)
	if err != nil {
		return nil, err
	}
	held = &heldDraft{Draft: d, s: s}
	return held, nil
}

// received ends what create began.
func (s *store) received() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drafts--
}

func (s *store) beingReceived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drafts
}

// finish tells whether a store can be closed: d alone is left of those that had a say in it, nothing is being received, and it
// is empty. From then on it takes nothing, unless another configuration comes that has it.
func (s *store) finish(d *delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drafts > 0 || s.generations.len() > 1 || s.generations.top() != d {
		return false
	}
	// Once more: what was being received may be there now.
	messages, _, err := queue.Guard(s.spool, s.log).Size(context.Background())
	s.finished = err == nil && messages == 0
	return s.finished
}

func (d *heldDraft) Commit(ctx context.Context, a *queue.Accept) error {
	err := d.Draft.Commit(ctx, a)
	if err == nil {
		d.ended()
	}
	return err
}

// Reader is read by goroutines of policies' libraries too, where a panic would end the process. The session's own
// goroutine panics in its place, in checkReaders.
func (d *heldDraft) Reader() (io.ReadCloser, error) {
	r, err := d.Draft.Reader()
	if err != nil {
		return nil, err
	}
	return &draftReader{queue.GuardReader(r, d.s.log), d}, nil
}

type draftReader struct {
	io.ReadCloser
	d *heldDraft
}

func (r *draftReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if queue.Panicked(err) {
		r.d.broken.Store(true)
	}
	return n, err
}

// checkReaders panics if the spool did under a reader, whatever the module that read made of it.
func (d *heldDraft) checkReaders() {
	if d.broken.Load() {
		panic("the spool panicked while the message was read; see the line before")
	}
}

func (d *heldDraft) Abort() {
	defer d.ended()
	d.Draft.Abort()
}

func (d *heldDraft) ended() { d.once.Do(d.s.received) }
