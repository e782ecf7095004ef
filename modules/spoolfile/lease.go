package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Lease gives the entry whose turn it is to the caller alone.
func (s *Store) Lease(ctx context.Context, now time.Time) (queue.Lease, time.Time, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, time.Time{}, err
		}
		if _, err := s.engine(); err != nil {
			return nil, time.Time{}, err
		}
		it, next := s.schedule.take(now)
		if it == nil {
			return nil, next, queue.ErrNoneDue
		}
		if it.outcome != nil {
			// What the last attempt came to is stored before there is another.
			e := it.outcome
			it.outcome = nil
			_ = s.record(it, e, now) // postponed if it fails again
			continue
		}
		e, err := s.load(it.id)
		if err == nil {
			return &lease{s: s, it: it, entry: e, leased: now}, time.Time{}, nil
		}
		if _, down := s.engine(); down != nil {
			s.schedule.settle(it, it.rec)
			return nil, time.Time{}, down
		}
		// It cannot be read: the others must not wait behind it.
		s.log.Error("an entry of the spool cannot be read; it is not delivered", zap.String("queue_id", it.id), zap.Error(err))
		it.broken = true
		s.schedule.settle(it, it.rec)
	}
}

// load reads an entry.
func (s *Store) load(id string) (*queue.Entry, error) {
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
	return decodeEntry(value)
}

// record stores what an owned entry has become, or deletes it when it is
// done, and gives it back. What cannot be stored is kept in memory and
// stored later, so that only a crash in between makes a duplicate.
func (s *Store) record(it *item, e *queue.Entry, now time.Time) error {
	if e.Done() {
		err := s.delete(it)
		if err != nil {
			s.schedule.postpone(it, now.Add(outcomeRetry), e)
		}
		return err
	}
	rec, err := s.put(it, e)
	if err != nil {
		s.schedule.postpone(it, now.Add(outcomeRetry), e)
		return err
	}
	s.schedule.settle(it, rec)
	s.wake()
	return nil
}

// clone copies what a caller may go on to change.
func clone(e *queue.Entry) *queue.Entry {
	c := *e
	c.Recipients = slices.Clone(e.Recipients)
	c.Attributes = maps.Clone(e.Attributes)
	c.History = slices.Clone(e.History)
	return &c
}

// put stores an owned entry's envelope.
func (s *Store) put(it *item, e *queue.Entry) (record, error) {
	rec := it.rec
	rec.describe(e)
	value, err := rec.encode(e)
	if err != nil {
		return rec, err
	}
	return rec, s.commit(&change{id: it.id, record: value, patient: true})
}

// delete removes an owned entry with its message.
func (s *Store) delete(it *item) error {
	if err := s.commit(&change{id: it.id, patient: true}); err != nil {
		return err
	}
	s.schedule.forget(it)
	s.removeBody(it.rec.file)
	s.buried(it.rec)
	return nil
}

// lease is one entry in the hands of one worker.
type lease struct {
	s     *Store
	it    *item
	entry *queue.Entry
	// leased is when, on the caller's clock.
	leased time.Time
	ended  atomic.Bool
}

func (l *lease) Entry() *queue.Entry { return l.entry }

// errLeaseEnded is for a lease that was recorded or released.
var errLeaseEnded = errors.New("the lease has ended")

// Open reads the message.
func (l *lease) Open() (io.ReadSeekCloser, error) {
	if l.ended.Load() {
		return nil, errLeaseEnded
	}
	return l.s.openMessage(l.it.id, l.it.rec)
}

func (s *Store) openMessage(id string, rec record) (io.ReadSeekCloser, error) {
	eng, err := s.engine()
	if err != nil {
		return nil, err
	}
	value, err := eng.get(bodyKey(id))
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	m := &message{head: value}
	if rec.file != 0 {
		if m.file, err = s.fs.Open(s.bodyFile(rec.file)); err != nil {
			return nil, fmt.Errorf("message %s: %w", id, err)
		}
		info, err := m.file.Stat()
		if err == nil && info.Size() != rec.size {
			err = fmt.Errorf("its body has %d octets and not %d", info.Size(), rec.size)
		}
		if err != nil {
			m.file.Close()
			return nil, fmt.Errorf("message %s: %w", id, err)
		}
		m.size = rec.size
	}
	m.SectionReader = io.NewSectionReader(m, 0, int64(len(m.head))+m.size)
	return m, nil
}

// Record stores what became of the entry. The context is not heeded: an outcome
// that is known must not be lost.
func (l *lease) Record(_ context.Context, e *queue.Entry) error {
	if e.ID != l.it.id {
		return fmt.Errorf("entry %s recorded as %s", l.it.id, e.ID)
	}
	if l.ended.Swap(true) {
		return errLeaseEnded
	}
	return l.s.record(l.it, clone(e), l.leased)
}

// Release gives the entry back unchanged. Nothing happens after Record.
func (l *lease) Release() {
	if l.ended.Swap(true) {
		return
	}
	l.s.schedule.settle(l.it, l.it.rec)
	l.s.wake()
}

// Postpone gives the entry back to be due later; a restart forgets that.
func (l *lease) Postpone(until time.Time) {
	if l.ended.Swap(true) {
		return
	}
	l.s.schedule.postpone(l.it, until, nil)
	l.s.wake()
}

// message is a header, and a body in the same octets or in a file.
type message struct {
	*io.SectionReader
	head []byte
	file vfs.File // nil for a small body
	size int64    // of the file
}

// ReadAt implements io.ReaderAt for the SectionReader.
func (m *message) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(m.head)) {
		n = copy(p, m.head[off:])
		if n == len(p) || m.file == nil {
			return n, shortRead(n, p)
		}
		off += int64(n)
	}
	if m.file == nil {
		return n, io.EOF
	}
	k, err := m.file.ReadAt(p[n:], off-int64(len(m.head)))
	return n + k, err
}

func shortRead(n int, p []byte) error {
	if n < len(p) {
		return io.EOF
	}
	return nil
}

func (m *message) Close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}
