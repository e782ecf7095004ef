package spoolfile

import (
	"time"

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
}

// build says what to store of an entry that has so many open jobs beside those that change.
func (p *pending) build(open int, before *queue.Status) error {
	if _, err := p.buildJobs(open); err != nil || p.ends {
		return err
	}
	return p.buildStatus(before)
}

// buildJobs is build without the status, and returns how many jobs are open then.
func (p *pending) buildJobs(open int) (int, error) {
	for i := range p.jobs {
		if p.jobs[i].Pending() {
			open++
		}
	}
	if p.ends = p.ends || p.status.Ended(open); p.ends {
		p.writes = append(p.writes, p.e.deletions()...)
		return open, nil
	}
	for i := range p.jobs {
		value, err := encodeJob(&p.jobs[i], p.written)
		if err != nil {
			return open, err
		}
		p.writes = append(p.writes, set(jobKey(p.e.id, p.jobs[i].Number), value))
	}
	return open, nil
}

func (p *pending) buildStatus(before *queue.Status) error {
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
