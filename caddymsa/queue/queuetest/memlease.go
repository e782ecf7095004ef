package queuetest

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

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

func (l *memLease) Entry() *queue.Entry { return l.m.entry }

func (l *memLease) Job() *queue.Job { return l.job }

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
		s.keep(journal.OfDeleted(r.Facts))
		s.wake()
		return nil
	}
	for i := range r.Messages {
		if err := r.Messages[i].Draft.(*memDraft).commit(&r.Messages[i].Accept); err != nil {
			return err
		}
	}
	s.keep(r.Facts)
	others := m.open()
	if l.j.Number != 0 && l.j.Pending() {
		others--
	}
	for _, j := range m.status.Apply(r, l.status, m.next, others) {
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
