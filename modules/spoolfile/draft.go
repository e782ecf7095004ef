package spoolfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// spaceStep is how much of a body may be written before free space is looked at
// again, and writeback begun.
const spaceStep = 1 << 20

// draft is a message being written: in a buffer up to the threshold, in a file
// beyond it, where the buffer then gathers what is written.
type draft struct {
	s     *Store
	buf   []byte
	class int // of buf's size
	// readers are open on buf: it must not be used for anything else then.
	readers *atomic.Int32

	file    vfs.File
	number  uint64
	size    int64 // octets in the file
	checked int64
	sum     uint32 // of the file
	err     error  // of a write: nothing more is taken
	coming  bool   // other commits may wait for it
	ended   bool
}

// Create begins a message. ErrFull when there is no room.
func (s *Store) Create(ctx context.Context) (queue.Draft, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := s.engine(); err != nil {
		return nil, err
	}
	if err := s.space.check(); err != nil {
		s.askTidy()
		return nil, err
	}
	if !queue.IsNotification(ctx) {
		if err := s.overLimits(); err != nil {
			return nil, err
		}
	}
	s.coming.Add(1)
	return &draft{s: s, buf: s.buffers.get(0), readers: new(atomic.Int32), coming: true}, nil
}

var errEnded = errors.New("the draft has ended")

func (d *draft) Write(p []byte) (int, error) {
	if d.ended {
		return 0, errEnded
	}
	n := 0
	for len(p) > 0 && d.err == nil {
		room := cap(d.buf) - len(d.buf)
		if room == 0 {
			d.err = d.grow()
			continue
		}
		k := min(room, len(p))
		d.buf = append(d.buf, p[:k]...)
		p, n = p[k:], n+k
	}
	return n, d.err
}

// grow makes room in the buffer: by a larger one, then by a file.
func (d *draft) grow() error {
	if b := &d.s.buffers; d.file == nil && d.class < len(b.sizes)-1 {
		old, class, readers := d.buf, d.class, d.readers
		d.class++
		d.buf, d.readers = append(b.get(d.class), old...), new(atomic.Int32)
		b.put(class, old, readers)
		return nil
	}
	if d.file == nil {
		d.awaited() // it may be long until it has come
		n := d.s.lastFile.Add(1)
		f, err := d.s.fs.Create(d.s.bodyFile(n), vfs.WriteCategoryUnspecified)
		if err != nil {
			return full(err)
		}
		d.file, d.number = f, n
	}
	return d.flush()
}

// flush writes the buffer to the file.
func (d *draft) flush() error {
	if d.size-d.checked >= spaceStep {
		if err := d.s.space.check(); err != nil {
			return err
		}
		// Writeback begins while the client still sends.
		if _, err := d.file.SyncTo(d.size); err != nil {
			return full(err)
		}
		d.checked = d.size
	}
	if d.readers.Load() > 0 { // they keep this one; it is never used again
		d.buf, d.readers = append(make([]byte, 0, cap(d.buf)), d.buf...), new(atomic.Int32)
	}
	d.sum = crc32.Update(d.sum, castagnoli, d.buf)
	for b := d.buf; len(b) > 0; {
		n, err := d.file.Write(b)
		d.size += int64(n)
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return full(err)
		}
		b = b[n:]
	}
	d.buf = d.buf[:0]
	return nil
}

// Reader opens what has been written so far.
func (d *draft) Reader() (io.ReadCloser, error) {
	switch {
	case d.ended:
		return nil, errEnded
	case d.err != nil:
		return nil, d.err
	case d.file == nil:
		d.readers.Add(1)
		return &bufferReader{Reader: bytes.NewReader(d.buf), readers: d.readers}, nil
	}
	if d.err = d.flush(); d.err != nil {
		return nil, d.err
	}
	f, err := d.s.fs.Open(d.s.bodyFile(d.number))
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, 0, d.size), f}, nil
}

// bufferReader reads a draft's buffer, which is not used again before Close.
type bufferReader struct {
	*bytes.Reader
	readers *atomic.Int32
	once    sync.Once
}

func (r *bufferReader) Close() error {
	r.once.Do(func() {
		r.Reset(nil)
		r.readers.Add(-1)
	})
	return nil
}

// Commit stores the message. Concurrent commits share their syncs.
func (d *draft) Commit(ctx context.Context, a *queue.Accept) error {
	if d.ended {
		return errEnded
	}
	err := d.commit(ctx, a)
	if err == nil {
		d.end(true)
		return nil
	}
	// What may be stored all the same keeps its file until that is known.
	var doubt *doubtError
	d.end(errors.As(err, &doubt))
	return err
}

func (d *draft) commit(ctx context.Context, a *queue.Accept) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m, err := d.prepare(a)
	if err != nil {
		return err
	}
	if !d.s.schedule.reserve(m.e) {
		return fmt.Errorf("entry %s exists already", m.e.id)
	}
	d.awaited()
	c := &change{writes: m.writes, facts: d.s.book.encode(a.Facts)}
	if err := d.s.commit(c); err != nil {
		var doubt *doubtError
		if errors.As(err, &doubt) {
			d.s.disown(m.e.id, disowned{d.number, c}, doubt.eng)
		}
		d.s.schedule.mu.Lock()
		d.s.schedule.remove(m.e)
		d.s.schedule.mu.Unlock()
		return err
	}
	if d.number == 0 {
		d.s.fresh.put(m.e, &freshBody{head: a.Header, buf: d.buf, class: d.class, readers: d.readers}, time.Now())
		d.buf = nil
	}
	d.s.appear(m)
	d.s.wake()
	return nil
}

// newMessage is a message that is about to be committed.
type newMessage struct {
	e      *entry
	entry  *queue.Entry
	env    *envelope
	jobs   []queue.Job
	writes []edit
}

// prepare makes the draft ready to be committed: its file is durable.
func (d *draft) prepare(a *queue.Accept) (*newMessage, error) {
	if d.err != nil {
		return nil, d.err
	}
	if a.Entry.ID == "" {
		return nil, errors.New("the entry has no id")
	}
	m := &newMessage{jobs: a.Jobs}
	if m.jobs == nil {
		m.jobs = []queue.Job{queue.NewJob(a.Entry)}
	}
	m.e = &entry{id: a.Entry.ID, size: int64(len(a.Header) + len(d.buf)), next: int32(len(m.jobs)) + 1}
	m.e.describe(a.Entry)
	m.e.set(entrySummed|entryProven, true)
	body := [][]byte{a.Header, d.buf}
	if d.file != nil {
		if err := d.finish(); err != nil {
			return nil, err
		}
		m.e.file, m.e.size, m.e.sum = d.number, d.size, d.sum
		body = [][]byte{a.Header}
	}
	m.e.set(entryHeld|entryStatus, a.Held != "")
	value, err := m.e.encode(a.Entry, m.jobs, body)
	if err != nil {
		return nil, err
	}
	m.e.envelope = int32(len(value))
	if m.env, err = decodeEnvelope(value); err != nil {
		return nil, err
	}
	q := *a.Entry
	q.Accepted = q.Accepted.Round(0) // as it is stored
	m.entry = &q
	m.writes = []edit{set(envelopeKey(m.e.id), value), {bodyKey(m.e.id), body}}
	if a.Held != "" {
		status, err := encodeStatus(&queue.Status{Held: a.Held})
		if err != nil {
			return nil, err
		}
		m.writes = append(m.writes, set(statusKey(m.e.id), status))
	}
	return m, nil
}

// appear puts a message that is stored in the schedule.
func (s *Store) appear(m *newMessage) {
	s.born(m.e)
	s.recent.put(m.e, m.env, m.entry)
	s.schedule.mu.Lock()
	defer s.schedule.mu.Unlock()
	j := &m.e.first
	for i := range m.jobs {
		j = m.e.addBehind(j, int32(i)+1)
		j.copied = m.jobs[i].Copy != ""
		if m.jobs[i].Lane != "" {
			s.stamps.note(m.jobs[i].Stamp)
		}
		s.schedule.put(j, m.jobs[i].Lane, nanos(m.jobs[i].Due), nanos(m.jobs[i].Deadline), !m.jobs[i].Pending())
	}
}

// finish makes the file durable, and its name.
func (d *draft) finish() error {
	if err := d.flush(); err != nil {
		return err
	}
	if err := d.file.Sync(); err != nil {
		return full(err)
	}
	f := d.file
	d.file = nil
	if err := f.Close(); err != nil {
		return full(err)
	}
	if err := d.s.names.do(); err != nil {
		return full(err)
	}
	return nil
}

// Abort leaves nothing of the message.
func (d *draft) Abort() {
	if !d.ended {
		d.end(false)
	}
}

// awaited ends that other commits may wait for this one.
func (d *draft) awaited() {
	if d.coming {
		d.coming = false
		d.s.coming.Add(-1)
	}
}

func (d *draft) end(keep bool) {
	d.ended = true
	d.awaited()
	if d.file != nil {
		d.file.Close()
	}
	if d.number != 0 && !keep {
		d.s.removeBody(d.number)
	}
	if d.buf != nil {
		d.s.buffers.put(d.class, d.buf, d.readers)
		d.buf = nil
	}
}

// full makes an error that says that the disk is full an ErrFull.
func full(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", queue.ErrFull, err)
	}
	return err
}
