package spoolfile

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/cockroachdb/pebble/v2"
)

// scan fills the schedule with what is stored; f sees each entry first.
func (s *Store) scan(eng *engine, f func(*entry)) error {
	var old []string
	var order []*entry // of acceptance
	var v envelope
	known := make(names)
	now := time.Now().UnixNano()
	err := eng.each(envelopePrefix, "", func(id string, value []byte) bool {
		if isOld(value) {
			old = append(old, id)
			return true
		}
		e := &entry{id: id}
		err := v.read(value, known)
		if err == nil {
			s.revive(e, &v, now)
		} else {
			s.spoil(e, err)
		}
		s.schedule.reserve(e)
		order = append(order, e)
		return true
	})
	if err != nil { // the reading may go on in what it has
		return err
	}
	err = s.migrate(eng, old, now)
	for _, id := range old {
		if e := s.schedule.find(id); e != nil {
			order = append(order, e)
		}
	}
	if err == nil {
		err = s.scanJobs(eng, now)
	}
	if err != nil {
		return err
	}
	statuses := make(map[*entry]*queue.Status)
	if err := eng.each(statusPrefix, "", func(id string, value []byte) bool {
		e := s.schedule.find(id)
		if e == nil {
			return true
		}
		status, err := decodeStatus(value)
		if err != nil {
			s.spoil(e, err)
			return true
		}
		e.set(entryStatus, true)
		statuses[e] = status
		return true
	}); err != nil {
		return err
	}
	s.schedule.mu.Lock()
	defer s.schedule.mu.Unlock()
	s.schedule.wait.items = slices.Grow(s.schedule.wait.items, len(order))
	s.schedule.deadlines.items = slices.Grow(s.schedule.deadlines.items, len(order))
	for _, e := range order {
		f(e)
		s.begin(e, statuses[e], time.Unix(0, now))
	}
	return nil
}

// begin has the jobs of an entry that was just read wait for their time. The schedule is locked.
func (s *Store) begin(e *entry, status *queue.Status, now time.Time) {
	if status == nil {
		status = new(queue.Status)
	}
	if ahead := now.Add(notesWait); status.NotesDue.After(ahead) { // the clock was
		status.NotesDue = now
	}
	s.schedule.mark(e, entryHeld, status.Held != "")
	for j := range e.jobs() {
		if j.lease == nil {
			s.schedule.settle(j)
		}
	}
	delete(s.schedule.many, e) // its jobs may have been read again
	s.schedule.follow(e, status)
}

// clockAhead is by how much a record must come from the future for the clock to have been wrong.
const clockAhead = int64(time.Minute)

// notesWait is how long what a sender is to be told waits at most, and some.
const notesWait = 10 * time.Minute

// revive makes an entry of its record, with the jobs that it began with.
func (s *Store) revive(e *entry, v *envelope, now int64) {
	e.file, e.size, e.priority, e.user, e.accepted = v.file, v.size, v.priority, v.user, v.accepted
	e.sum = v.fileSum
	e.set(entrySummed, v.summed)
	e.envelope, e.next = int32(min(v.octets, 1<<30)), int32(len(v.jobs))+1
	j := &e.first
	for i := range v.jobs {
		f := &v.jobs[i]
		j = e.addBehind(j, int32(i)+1)
		j.lane, j.due, j.deadline, j.copied = s.schedule.lane(f.lane), f.due, f.deadline, f.copied != ""
		j.timely(v.accepted, now)
		if f.lane != "" {
			s.stamps.note(f.stamp)
		}
	}
}

// timely has a job that was written in the future be due now, whatever its lane says: nobody knows when it is to be given up.
func (j *job) timely(written, now int64) {
	if written > now+clockAhead {
		j.due, j.deadline = min(j.due, now), min(j.deadline, now)
	}
}

// scanJobs reads the jobs that are not as their messages began. Those of messages that are no more
// are deleted.
func (s *Store) scanJobs(eng *engine, now int64) error {
	var orphans []edit
	err := eng.each(jobPrefix, "", func(key string, value []byte) bool {
		id, number, err := splitJobKey(key)
		e := s.schedule.find(id)
		if err != nil || e == nil {
			orphans = append(orphans, edit{key: append([]byte{jobPrefix}, key...)})
			return true
		}
		if err := s.reviveJob(e, number, value, now); err != nil {
			s.spoil(e, err)
		}
		return true
	})
	if err == nil && len(orphans) > 0 {
		err = eng.commit(&change{writes: orphans})
	}
	return err
}

func (s *Store) reviveJob(e *entry, number int, value []byte, now int64) error {
	rec, err := decodeJob(value)
	if err != nil {
		return err
	}
	j := e.job(number)
	if j == nil {
		j = e.add(int32(number))
		e.next = max(e.next, j.number+1)
	}
	j.stored, j.ended, j.copied = true, rec.ended, rec.copied
	j.lane, j.due, j.deadline = s.schedule.lane(rec.lane), rec.due, rec.deadline
	j.timely(rec.written, now)
	if rec.lane != "" && !rec.ended {
		s.stamps.note(stampOf(rec.json))
	}
	return nil
}

// reload reads an entry again of which nobody knows what was stored.
func (s *Store) reload(eng *engine, e *entry) error {
	value, err := eng.get(envelopeKey(e.id))
	s.schedule.mu.Lock()
	defer s.schedule.mu.Unlock()
	if errors.Is(err, pebble.ErrNotFound) {
		s.schedule.remove(e)
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := decodeEnvelope(value); err != nil {
		return err
	}
	for j := range e.all() {
		if j.lease == nil {
			s.schedule.unsettle(j)
		}
	}
	records := make(map[int][]byte) // the reading may go on in them where it fails
	if err := eng.each(jobPrefix, e.id+"\x00", func(key string, value []byte) bool {
		id, number, err := splitJobKey(key)
		if err != nil || id != e.id {
			return false
		}
		records[number] = bytes.Clone(value)
		return true
	}); err != nil {
		return err
	}
	now := time.Now().UnixNano()
	for _, number := range slices.Sorted(maps.Keys(records)) {
		if j := e.job(number); j == nil || j.lease == nil {
			_ = s.reviveJob(e, number, records[number], now)
		}
	}
	value, err = eng.get(statusKey(e.id))
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	status, err := decodeStatus(value)
	if err != nil {
		return err
	}
	e.set(entryStatus, !status.IsZero())
	s.begin(e, status, time.Unix(0, now))
	return nil
}
