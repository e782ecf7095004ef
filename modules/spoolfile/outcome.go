package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// pending is a change of an entry that is about to be stored, or of which nobody knows whether it is.
type pending struct {
	e       *entry
	status  *queue.Status
	jobs    []queue.Job
	ends    bool
	others  []*newMessage
	drafts  []*draft
	written time.Time
	writes  []edit
	facts   []byte // record of the journal
	change  *change
}

// build says what to store of an entry that has so many open jobs beside those that change.
func (s *Store) build(p *pending, open int, before *queue.Status) error {
	for i := range p.jobs {
		if p.jobs[i].Pending() {
			open++
		}
	}
	if p.ends = p.ends || p.status.Ended(open); p.ends {
		p.writes = append(p.writes, p.e.deletions()...)
		return nil
	}
	for i := range p.jobs {
		value, err := encodeJob(&p.jobs[i], p.written)
		if err != nil {
			return err
		}
		p.writes = append(p.writes, set(jobKey(p.e.id, p.jobs[i].Number), value))
	}
	value, err := encodeStatus(p.status)
	if err != nil {
		return err
	}
	if old, err := encodeStatus(before); err != nil || string(old) != string(value) {
		p.writes = append(p.writes, set(statusKey(p.e.id), value))
	}
	return nil
}

// deletions take away all that is stored of an entry.
func (e *entry) deletions() []edit {
	writes := []edit{{key: envelopeKey(e.id)}, {key: bodyKey(e.id)}}
	if e.is(entryStatus) {
		writes = append(writes, edit{key: statusKey(e.id)})
	}
	for j := range e.jobs() {
		if j.stored {
			writes = append(writes, edit{key: jobKey(e.id, int(j.number))})
		}
	}
	return writes
}

// happen makes a change that is stored true in the schedule, whose lock is held.
func (s *Store) happen(p *pending) {
	e := p.e
	if p.ends {
		s.schedule.remove(e)
		s.recent.forget(e)
		s.fresh.forget(e)
		return
	}
	last := &e.first
	for i := range p.jobs {
		q := &p.jobs[i]
		if q.Pending() { // it will be a while until it is tried again
			s.fresh.forget(e)
		}
		var j *job
		if int32(q.Number) < e.next { // there may be a thousand that are new
			j = s.schedule.job(e, q.Number)
		}
		if j == nil {
			j = e.addBehind(last, int32(q.Number))
			last = j
			j.copied = q.Copy != ""
			s.schedule.added(j)
			e.next = max(e.next, j.number+1)
		} else if j.lease == nil {
			s.schedule.unsettle(j)
		}
		j.stored = true
		if q.Lane != "" {
			s.stamps.note(q.Stamp)
		}
		if j.lease == nil {
			s.schedule.put(j, q.Lane, nanos(q.Due), nanos(q.Deadline), !q.Pending())
		}
	}
	e.set(entryStatus, e.is(entryStatus) || !p.status.IsZero())
	if s.problem(e.id) == "" {
		s.schedule.mark(e, entryBroken, false)
	}
	s.schedule.follow(e, p.status)
}

// Record stores what became of the job. The context is not heeded: an outcome
// that is known must not be lost.
func (l *lease) Record(_ context.Context, r *queue.Record) error {
	err := l.record(r)
	for _, m := range r.Messages { // those that were committed take no notice
		m.Draft.Abort()
	}
	return err
}

func (l *lease) record(r *queue.Record) error {
	s, e := l.s, l.j.e
	mu := s.locks.of(e.id)
	mu.Lock()
	defer mu.Unlock()
	if l.over() {
		return queue.ErrLeaseEnded
	}
	if l.doubt != nil {
		done, err := s.settleDoubt(l.doubt)
		if err != nil {
			return err
		}
		p := l.doubt
		l.doubt = nil
		if done && e.is(entryGone) && len(p.others) == 0 {
			p = nil // its octets were counted out then
		}
		if done {
			l.end(p)
			return nil
		}
	}
	if e.is(entryGone) { // the operator deleted it
		if facts := s.book.encode(journal.OfDeleted(r.Facts)); facts != nil {
			c := &change{facts: facts, patient: true}
			if err := s.commit(c); err != nil {
				l.doubt = &pending{e: e, change: c}
				return err
			}
		}
		l.end(nil)
		return nil
	}
	m, err := s.share(e)
	if err != nil {
		return err
	}
	p := &pending{e: e, status: m.status.Clone(), written: r.At, ends: r.Remove}
	if p.ends && l.job.Kind == queue.Bury && !m.status.Buries(e.open()) {
		p.ends = false // the operator has it tried again
	}
	p.jobs = p.status.Apply(r, l.status, int(e.next))
	facts := r.Facts
	for i := range r.Messages {
		if err := s.prepare(p, &r.Messages[i]); err != nil {
			s.abandon(p)
			return err
		}
		facts = append(slices.Clip(facts), r.Messages[i].Facts...)
	}
	p.facts = s.book.encode(facts)
	s.schedule.mu.Lock()
	open, _ := s.schedule.open(e)
	if l.j.number != 0 && !l.j.ended {
		open--
	}
	s.schedule.mu.Unlock()
	if err := s.build(p, open, m.status); err != nil {
		s.abandon(p)
		return err
	}
	p.change = &change{writes: p.writes, facts: p.facts, patient: true}
	if err := s.commit(p.change); err != nil {
		var doubt *doubtError
		if errors.As(err, &doubt) && (len(p.others) > 0 || p.facts != nil) {
			l.doubt = p
			for _, d := range p.drafts {
				d.end(true)
			}
		} else {
			s.abandon(p)
		}
		return err
	}
	for _, d := range p.drafts {
		d.end(true)
	}
	l.end(p)
	return nil
}

// prepare makes a message part of a change.
func (s *Store) prepare(p *pending, m *queue.MessageDraft) error {
	d, ok := m.Draft.(*draft)
	if !ok || d.s != s {
		return errors.New("the draft is not this spool's")
	}
	if d.ended {
		return errEnded
	}
	n, err := d.prepare(&m.Accept)
	if err != nil {
		return err
	}
	if !s.schedule.reserve(n.e) {
		return fmt.Errorf("entry %s exists already", n.e.id)
	}
	p.others, p.drafts, p.writes = append(p.others, n), append(p.drafts, d), append(p.writes, n.writes...)
	return nil
}

// abandon takes back what prepare reserved.
func (s *Store) abandon(p *pending) {
	s.schedule.mu.Lock()
	defer s.schedule.mu.Unlock()
	for _, n := range p.others {
		s.schedule.remove(n.e)
	}
}

// settleDoubt finds out whether a change was stored whose commit broke off. It is all there or not at all.
func (s *Store) settleDoubt(p *pending) (done bool, err error) {
	eng, err := s.engine()
	if err != nil {
		return false, err
	}
	if len(p.others) == 0 {
		return s.recorded(eng, p.change)
	}
	_, err = eng.get(envelopeKey(p.others[0].e.id))
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, pebble.ErrNotFound):
		return false, err
	}
	s.abandon(p)
	for _, n := range p.others {
		s.removeBody(n.e.file)
	}
	return false, nil
}

// end ends the lease with what it came to, nil for an entry that is gone.
func (l *lease) end(p *pending) {
	s := l.s
	s.schedule.mu.Lock()
	l.ended = true
	s.schedule.release(l.j)
	if p == nil || p.ends {
		s.schedule.leave(l.j)
	}
	if l.j.number == 0 {
		s.schedule.setSpecial(l.j.e, nil)
	}
	if p != nil {
		s.happen(p)
	}
	s.schedule.mu.Unlock()
	if p == nil {
		s.wake()
		return
	}
	if p.ends {
		s.removeBody(p.e.file)
		s.buried(p.e)
	}
	for _, n := range p.others {
		s.appear(n)
	}
	s.wake()
}
