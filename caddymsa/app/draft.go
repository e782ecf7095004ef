package app

import (
	"context"
	"errors"
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
	d, err := s.spool.Create(ctx)
	if err != nil {
		s.received()
		return nil, err
	}
	return &heldDraft{Draft: d, s: s}, nil
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

func (d *heldDraft) Abort() {
	d.Draft.Abort()
	d.ended()
}

func (d *heldDraft) ended() { d.once.Do(d.s.received) }
