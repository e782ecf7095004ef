package spoolfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// listPage is how many entries List reads at once: a slow reader of the list
// must not keep the store from tidying up.
const listPage = 100

// Get returns a message.
func (s *Store) Get(ctx context.Context, id string) (*queue.EntryView, error) {
	return retried(ctx, s, func() (*queue.EntryView, error) { return s.get(ctx, id) })
}

func (s *Store) get(ctx context.Context, id string) (*queue.EntryView, error) {
	e, err := s.grab(ctx, id)
	if err != nil {
		return nil, err
	}
	defer s.locks.of(e.id).Unlock()
	m, err := s.read(e)
	if err != nil {
		return nil, err
	}
	return m.message()
}

// message is the operator's view of an entry.
func (m *stored) message() (*queue.EntryView, error) {
	v := &queue.EntryView{Entry: m.entry, Status: *m.status}
	if why := m.s.problem(m.e.id); m.e.is(entryBroken) && v.Status.Held == "" {
		v.Status.Held = "damaged: " + why
	}
	numbers, leased, special := m.s.schedule.jobs(m.e)
	v.StatusLeased = special
	for i, n := range numbers {
		j, err := m.job(n)
		if err != nil {
			return nil, err
		}
		j.Leased = leased[i]
		v.Jobs = append(v.Jobs, *j)
	}
	return v, nil
}

// jobs are the numbers of an entry's jobs, which are leased, and whether the special one is.
func (s *schedule) jobs(e *entry) (numbers []int, leased []bool, special bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for j := range e.jobs() {
		numbers, leased = append(numbers, int(j.number)), append(leased, j.lease != nil)
	}
	j := e.special()
	return numbers, leased, j != nil && j.lease != nil
}

// OpenMessage implements queue.MessageOpener.
func (s *Store) OpenMessage(ctx context.Context, id string) (io.ReadSeekCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := retried(ctx, s, func() (*message, error) {
		if _, err := s.engine(); err != nil {
			return nil, err
		}
		e := s.schedule.find(id)
		if e == nil {
			return nil, queue.ErrNotFound
		}
		return s.openMessage(e)
	})
	if err != nil {
		return nil, err // and no message that is not nil
	}
	return m, nil
}

// List calls yield for messages in the order of their ids.
func (s *Store) List(ctx context.Context, after string, yield func(*queue.EntryView) bool) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var more bool
		page, err := retried(ctx, s, func() (page []envelopeRecord, err error) {
			page, more, err = s.page(after)
			return page, err
		})
		if err != nil {
			return err
		}
		for _, r := range page {
			after = r.id
			m, err := retried(ctx, s, func() (*queue.EntryView, error) { return s.view(ctx, r) })
			if errors.Is(err, queue.ErrNotFound) {
				continue
			}
			if err != nil {
				if isDown(err) || ctx.Err() != nil {
					return err
				}
				// It is listed all the same, so that it can be deleted.
				m = &queue.EntryView{Entry: &queue.Entry{ID: r.id}, Status: queue.Status{Held: err.Error()}}
			}
			if !yield(m) {
				return nil
			}
		}
		if !more {
			return nil
		}
	}
}

// envelopeRecord is one that was read.
type envelopeRecord struct {
	id    string
	value []byte
}

// page reads some envelope records, in one go.
func (s *Store) page(after string) ([]envelopeRecord, bool, error) {
	eng, err := s.engine()
	if err != nil {
		return nil, false, err
	}
	var page []envelopeRecord
	octets, more := 0, false
	err = eng.each(envelopePrefix, after, func(id string, value []byte) bool {
		page = append(page, envelopeRecord{id, bytes.Clone(value)})
		octets += len(value)
		more = len(page) == listPage || octets >= maxBatch
		return !more
	})
	if err != nil { // the reading may go on in what it has
		return nil, false, eng.met(err)
	}
	return page, more, nil
}

// view is Get of what was read.
func (s *Store) view(ctx context.Context, r envelopeRecord) (*queue.EntryView, error) {
	e, err := s.grab(ctx, r.id)
	if err != nil {
		return nil, err
	}
	defer s.locks.of(e.id).Unlock()
	eng, err := s.engine()
	if err != nil {
		return nil, err
	}
	m, err := s.decode(eng, e, r.value)
	if err != nil {
		return nil, err
	}
	return m.message()
}

// Change alters a message in one step.
func (s *Store) Change(ctx context.Context, id string, change func(*queue.EntryView) error) (inFlight int, err error) {
	e, err := s.grab(ctx, id)
	if err != nil {
		return 0, err
	}
	defer s.locks.of(e.id).Unlock()
	m, err := s.read(e)
	var before, after *queue.EntryView
	if err == nil {
		before, err = m.message()
	}
	if err == nil {
		after, err = m.message()
	}
	if isDown(err) {
		return 0, err
	}
	if err != nil {
		return 0, fmt.Errorf("entry %s can only be deleted: %w", id, err)
	}
	if err := change(after); err != nil {
		return 0, err
	}
	if after.Entry.ID != id {
		return 0, fmt.Errorf("entry %s cannot become %s", id, after.Entry.ID)
	}
	p := &pending{e: e, status: &after.Status, written: time.Now()}
	open := 0
	was := make(map[int]*queue.Job, len(before.Jobs))
	for i := range before.Jobs {
		was[before.Jobs[i].Number] = &before.Jobs[i]
	}
	next := int(e.next)
	for i := range after.Jobs {
		j := after.Jobs[i].Clone()
		old := was[j.Number]
		switch {
		case j.Number == 0:
			j.Number = next
			next++
		case old == nil:
			return 0, fmt.Errorf("entry %s has no job %d", id, j.Number)
		case old.Leased:
			inFlight++
			open++
			continue
		case sameJob(old, j):
			if old.Pending() {
				open++
			}
			continue
		}
		j.Leased = false
		p.jobs = append(p.jobs, *j)
	}
	if err := p.build(open, &before.Status); err != nil {
		return 0, err
	}
	p.facts = s.book.encode(after.Facts)
	if len(p.writes) == 0 && p.facts == nil {
		return inFlight, nil
	}
	if err := s.store(p); err != nil {
		return 0, err
	}
	return inFlight, nil
}

// Delete takes a message away.
func (s *Store) Delete(ctx context.Context, id string, facts ...journal.Fact) (inFlight int, err error) {
	e, err := s.grab(ctx, id)
	if err != nil {
		return 0, err
	}
	defer s.locks.of(e.id).Unlock()
	_, leased, _ := s.schedule.jobs(e)
	for _, l := range leased {
		if l {
			inFlight++
		}
	}
	if m, err := s.read(e); err == nil { // what is damaged can be deleted all the same
		if v, err := m.message(); err == nil {
			facts = v.Waits(facts)
		}
	}
	return inFlight, s.store(&pending{e: e, ends: true, writes: e.deletions(), facts: s.book.encode(facts)})
}

// grab locks an entry.
func (s *Store) grab(ctx context.Context, id string) (*entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := s.engine(); err != nil {
		return nil, err
	}
	e := s.schedule.find(id)
	if e == nil {
		return nil, queue.ErrNotFound
	}
	s.locks.of(id).Lock()
	if e.is(entryGone) {
		s.locks.of(id).Unlock()
		return nil, queue.ErrNotFound
	}
	return e, nil
}

// store commits an operator's change.
func (s *Store) store(p *pending) error {
	if err := s.commit(&change{writes: p.writes, facts: p.facts, patient: true}); err != nil {
		var doubt *doubtError
		if errors.As(err, &doubt) {
			s.doubtful(p.e.id, doubt.eng)
		}
		return err
	}
	s.cured(p.e) // it is gone, or tried again
	s.schedule.mu.Lock()
	broken := p.e.is(entryBroken)
	s.happen(p)
	if broken && !p.ends {
		for j := range p.e.jobs() {
			if j.lease == nil && j.place == 0 && j.line == nil {
				s.schedule.settle(j)
			}
		}
	}
	s.schedule.mu.Unlock()
	if p.ends {
		s.removeBody(p.e.file)
		s.buried(p.e)
	}
	s.wake()
	return nil
}

// Lanes implements queue.Operator.
func (s *Store) Lanes(ctx context.Context, yield func(queue.LaneInfo) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := s.engine(); err != nil {
		return err
	}
	s.schedule.mu.Lock()
	all := make([]queue.LaneInfo, 0, len(s.schedule.lanes))
	for name, l := range s.schedule.lanes {
		if l.head != nil {
			all = append(all, queue.LaneInfo{Name: name, Waiting: int(l.waiting), Leased: int(l.leased), Oldest: timeOf(l.head.e.accepted)})
		}
	}
	s.schedule.mu.Unlock()
	for _, i := range all {
		if !yield(i) {
			break
		}
	}
	return nil
}

// InLane implements queue.Operator.
func (s *Store) InLane(ctx context.Context, name, after string, limit int) (ids []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := s.engine(); err != nil {
		return nil, err
	}
	s.schedule.mu.Lock()
	defer s.schedule.mu.Unlock()
	l := s.schedule.lanes[name]
	if l == nil {
		return nil, nil
	}
	at := l.head
	if e := s.schedule.entries.get(after); e != nil {
		for j := range e.jobs() {
			if j.lane == l && j.listed {
				at = j.after
			}
		}
	}
	for ; at != nil && len(ids) < limit; at = at.after {
		if at.lease == nil && (len(ids) == 0 || ids[len(ids)-1] != at.e.id) {
			ids = append(ids, at.e.id)
		}
	}
	return ids, nil
}

// Size implements queue.Operator.
func (s *Store) Size(ctx context.Context) (messages int, octets int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	if _, err := s.engine(); err != nil {
		return 0, 0, err
	}
	return s.schedule.len(), s.held.Load(), nil
}

// ids is a page of them.
func (s *Store) ids(after string) ([]string, error) {
	eng, err := s.engine()
	if err != nil {
		return nil, err
	}
	var ids []string
	err = eng.each(envelopePrefix, after, func(id string, _ []byte) bool {
		ids = append(ids, id)
		return len(ids) < listPage
	})
	if err != nil { // the reading may go on in what it has
		return nil, eng.met(err)
	}
	return ids, nil
}
