package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

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
	d.s.keep(a.Facts)
	d.s.wake()
	return nil
}

func (d *memDraft) Abort() { d.ended, d.body = true, nil }
