package app

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// heldDraft keeps a store open until the message is received, or is not.
type heldDraft struct {
	queue.Draft
	s    *store
	once sync.Once
}

// errFinished is what a store says that is empty and about to close: another configuration is in charge, with a store of its own.
var errFinished = errors.New("the spool is a former configuration's and is closed")

func (s *store) create(ctx context.Context) (queue.Draft, error) {
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

// Reader is read by goroutines of policies' libraries too, where a panic would end the process.
func (d *heldDraft) Reader() (io.ReadCloser, error) {
	r, err := d.Draft.Reader()
	if err != nil {
		return nil, err
	}
	return queue.GuardReader(r, d.s.log), nil
}

func (d *heldDraft) Abort() {
	defer d.ended()
	d.Draft.Abort()
}

func (d *heldDraft) ended() { d.once.Do(d.s.received) }
