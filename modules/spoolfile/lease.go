package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// SetLane implements queue.Spool.
func (s *Store) SetLane(name string, state queue.LaneState) {
	if name == "" {
		return // has no limit
	}
	s.schedule.mu.Lock()
	l := s.schedule.lane(name)
	s.schedule.turns.set(l, state)
	s.schedule.forgetLane(l)
	s.schedule.mu.Unlock()
	s.wake()
}

// Lease gives the job whose turn it is to the caller alone.
func (s *Store) Lease(ctx context.Context, now time.Time, want queue.Want) (queue.Lease, time.Time, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, time.Time{}, err
		}
		if _, err := s.engine(); err != nil {
			if s.rebuilt(ctx, err) {
				continue
			}
			return nil, time.Time{}, err
		}
		j, next := s.schedule.take(now, want)
		if j == nil {
			return nil, next, queue.ErrNoneDue
		}
		l, err := s.lease(j)
		if err == nil {
			return l, time.Time{}, nil
		}
		s.unleased(j, err, now)
		if isDown(err) && !s.rebuilt(ctx, err) {
			return nil, time.Time{}, err
		}
	}
}

// unleased puts back a job that was taken and could not be read.
func (s *Store) unleased(j *job, err error, now time.Time) {
	s.schedule.mu.Lock()
	defer s.schedule.mu.Unlock()
	s.schedule.release(j)
	switch {
	case j.e.is(entryGone):
		s.schedule.leave(j)
	case isDown(err):
	case j.number == 0 && errors.Is(err, queue.ErrNotFound): // the status was changed meanwhile, and is followed at its next change
		j.due = nanos(now.Add(time.Minute))
	default: // the others must not wait behind it
		if !errors.Is(err, queue.ErrNotFound) {
			s.spoil(j.e, err)
		}
		s.schedule.mark(j.e, entryBroken, true)
		for other := range j.e.all() {
			if other.lease == nil {
				s.schedule.unsettle(other)
			}
		}
	}
	s.schedule.settle(j)
}

// lease reads what a job that was taken is about.
func (s *Store) lease(j *job) (*lease, error) {
	m, err := s.share(j.e)
	if err != nil {
		return nil, err
	}
	if err := m.prove(); err != nil {
		return nil, err
	}
	l := j.lease
	l.s, l.j, l.entry, l.status = s, j, m.entry, m.status
	if j.number == 0 {
		s.schedule.mu.Lock()
		special, ok := m.status.Special(s.schedule.open(j.e))
		s.schedule.mu.Unlock()
		if !ok {
			return nil, queue.ErrNotFound
		}
		l.job = &special
	} else if l.job, err = m.job(int(j.number)); err != nil {
		return nil, err
	}
	s.schedule.mu.Lock()
	defer s.schedule.mu.Unlock()
	if j.e.is(entryGone) {
		return nil, queue.ErrNotFound
	}
	if j.deadline < nanos(l.job.Deadline) { // see timely
		l.job.Deadline = timeOf(j.deadline)
	}
	return l, nil
}

// prove reads a message of an earlier process once, before it is delivered.
func (m *stored) prove() error {
	if m.e.is(entryProven) {
		return nil
	}
	if _, err := m.octets(); err != nil {
		return err
	}
	m.e.set(entryProven, true)
	return nil
}

// octets reads all of a message, and returns how many they are.
func (m *stored) octets() (n int64, err error) {
	octets, err := m.s.openMessage(m.e)
	if err != nil {
		return 0, err
	}
	if octets.tail == nil && m.env.summed && !m.env.proves(octets.head) {
		err = errors.New("its octets are damaged: the checksum differs")
	}
	n, failed := io.Copy(io.Discard, octets)
	return n, errors.Join(err, failed, octets.Close())
}

// stored is what is stored of an entry, apart from jobs, which are read one by one.
type stored struct {
	s      *Store
	eng    *engine
	e      *entry
	env    *envelope
	entry  *queue.Entry
	status *queue.Status
}

// share is read for who shares the envelope with others and does not change it: it is read once.
func (s *Store) share(e *entry) (*stored, error) {
	eng, err := s.engine()
	if err != nil {
		return nil, err
	}
	if k := s.recent.get(e); k != nil {
		m := &stored{s: s, eng: eng, e: e, env: k.env, entry: k.entry}
		return m, m.readStatus()
	}
	m, err := s.read(e)
	if err == nil {
		s.recent.put(e, m.env, m.entry)
	}
	return m, err
}

// read reads an entry's envelope and status.
func (s *Store) read(e *entry) (*stored, error) {
	eng, err := s.engine()
	if err != nil {
		return nil, err
	}
	value, err := eng.get(envelopeKey(e.id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, queue.ErrNotFound
	}
	if err != nil {
		return nil, eng.met(err)
	}
	return s.decode(eng, e, value)
}

// decode reads an entry whose envelope record is at hand.
func (s *Store) decode(eng *engine, e *entry, value []byte) (m *stored, err error) {
	m = &stored{s: s, eng: eng, e: e}
	if m.env, err = decodeEnvelope(value); err != nil {
		return nil, err
	}
	if m.entry, err = m.env.decode(); err != nil {
		return nil, err
	}
	return m, m.readStatus()
}

// noStatus is that of most entries. It is not changed.
var noStatus queue.Status

// readStatus reads what has changed of the entry as a whole.
func (m *stored) readStatus() error {
	if !m.e.is(entryStatus) {
		m.status = &noStatus
		return nil
	}
	value, err := m.eng.get(statusKey(m.e.id))
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return m.eng.met(err)
	}
	m.status, err = decodeStatus(value)
	return err
}

// job reads one of the entry's jobs.
func (m *stored) job(number int) (*queue.Job, error) {
	if number >= 1 && number <= len(m.env.jobs) {
		m.s.schedule.mu.Lock()
		j := m.s.schedule.job(m.e, number)
		first := j == nil || !j.stored
		m.s.schedule.mu.Unlock()
		if first {
			return m.env.job(m.entry, number)
		}
	}
	value, err := m.eng.get(jobKey(m.e.id, number))
	if errors.Is(err, pebble.ErrNotFound) {
		return m.env.job(m.entry, number)
	}
	if err != nil {
		return nil, m.eng.met(err)
	}
	rec, err := decodeJob(value)
	if err != nil {
		return nil, err
	}
	j, err := queue.DecodeJob(rec.json, m.entry)
	if err != nil {
		return nil, fmt.Errorf("%w: job %d: %w", errRecord, number, err)
	}
	j.Number = number
	return j, nil
}

// lease is one job in the hands of one worker. It lasts as long as the process.
type lease struct {
	s       *Store
	j       *job
	counted *lane // where it is, which is the nameless lane for what is overdue
	entry   *queue.Entry
	job     *queue.Job
	status  *queue.Status
	ended   bool      // under the schedule's lock
	doubt   *together // nobody knows whether it was stored
	kept    bool      // it was, by a commit that broke off
}

func (l *lease) Entry() *queue.Entry   { return l.entry }
func (l *lease) Job() *queue.Job       { return l.job }
func (l *lease) Status() *queue.Status { return l.status }

// Lost never comes: nobody else has this spool open.
func (l *lease) Lost() <-chan struct{} { return nil }

// Open reads the message.
func (l *lease) Open(ctx context.Context) (io.ReadSeekCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.over() {
		return nil, queue.ErrLeaseEnded
	}
	m, err := retried(ctx, l.s, func() (*message, error) { return l.s.openMessage(l.j.e) })
	if err != nil {
		if !isDown(err) && !environment(err) && !l.j.e.is(entryGone) {
			l.s.spoil(l.j.e, err)
		}
		return nil, err
	}
	m.damaged = func(err error) { l.s.spoil(l.j.e, err) }
	return m, nil
}

func (l *lease) over() bool {
	l.s.schedule.mu.Lock()
	defer l.s.schedule.mu.Unlock()
	return l.ended
}

func (s *Store) openMessage(e *entry) (*message, error) {
	eng, err := s.engine()
	if err != nil {
		return nil, err
	}
	if m := s.fresh.open(e); m != nil {
		m.SectionReader = io.NewSectionReader(m, 0, int64(len(m.head)+len(m.tail)))
		return m, nil
	}
	value, err := eng.get(bodyKey(e.id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, errors.New("its octets are missing from the store")
	}
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", e.id, eng.met(err))
	}
	m := &message{head: value}
	if e.file != 0 {
		name := s.bodyFile(e.file)
		if m.file, err = s.fs.Open(name); err != nil {
			return nil, fmt.Errorf("message %s: %w", e.id, err)
		}
		info, err := m.file.Stat()
		if err == nil && info.Size() != e.size {
			err = fmt.Errorf("its body, %s, has %d octets and not %d", name, info.Size(), e.size)
		}
		if err != nil {
			m.file.Close()
			return nil, fmt.Errorf("message %s: %w", e.id, err)
		}
		m.size, m.name, m.summed, m.want = e.size, name, e.is(entrySummed), e.sum
	}
	m.SectionReader = io.NewSectionReader(m, 0, int64(len(m.head))+m.size)
	return m, nil
}

// Release gives the job back unchanged. Nothing happens after Record.
func (l *lease) Release() {
	l.s.schedule.mu.Lock()
	defer l.s.schedule.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	l.s.schedule.release(l.j)
	l.s.schedule.settle(l.j)
	l.s.wake()
}
