package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// listPage is how many entries List reads at once: a slow reader of the list
// must not keep the store from tidying up.
const listPage = 100

// Get returns an entry.
func (s *Store) Get(ctx context.Context, id string) (*queue.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.load(id)
}

// OpenMessage implements queue.MessageOpener.
func (s *Store) OpenMessage(ctx context.Context, id string) (io.ReadSeekCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	eng, err := s.engine()
	if err != nil {
		return nil, err
	}
	value, err := eng.get(envelopeKey(id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, queue.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	rec, err := decodeRecord(value)
	if err != nil {
		return nil, err
	}
	return s.openMessage(id, rec)
}

// List calls yield for entries in the order of their ids.
func (s *Store) List(ctx context.Context, after string, yield func(*queue.Entry) bool) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, err := s.page(after)
		if err != nil {
			return err
		}
		for _, e := range page {
			if !yield(e) {
				return nil
			}
			after = e.ID
		}
		if len(page) < listPage {
			return nil
		}
	}
}

func (s *Store) page(after string) ([]*queue.Entry, error) {
	eng, err := s.engine()
	if err != nil {
		return nil, err
	}
	var page []*queue.Entry
	err = eng.each(envelopePrefix, after, func(id string, value []byte) bool {
		e, err := decodeEntry(value)
		if err != nil { // it is listed all the same, so that it can be deleted
			e = &queue.Entry{Held: err.Error()}
		}
		e.ID = id
		page = append(page, e)
		return len(page) < listPage
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// Update changes an entry in one step.
func (s *Store) Update(ctx context.Context, id string, change func(*queue.Entry) *queue.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := s.engine(); err != nil {
		return err
	}
	it, err := s.schedule.acquire(id)
	if err != nil {
		return err
	}
	settled := false
	defer func() { // an error, or a panic of change: all stays as it was
		if !settled {
			s.schedule.settle(it, it.rec)
		}
	}()
	e := it.outcome // newer than what is stored
	if e == nil {
		e, err = s.load(id)
	}
	if err != nil {
		e = &queue.Entry{ID: id, Held: err.Error()}
	}
	if e = change(e); e == nil || e.Done() {
		if err := s.delete(it); err != nil {
			return err
		}
		settled = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("entry %s can only be deleted: %w", id, err)
	}
	if e.ID != id {
		return fmt.Errorf("entry %s cannot become %s", id, e.ID)
	}
	rec, err := s.put(it, e)
	if err != nil {
		return err
	}
	settled, it.outcome, it.broken = true, nil, false
	s.schedule.settle(it, rec)
	s.wake()
	return nil
}
