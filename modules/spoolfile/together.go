package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Jobs of one entry run side by side, and each outcome changes what is stored of the entry: how many jobs are open, what the
// sender is to be told. If each had a commit of its own, a thousand would wait for each other, and the workers with them. So
// those that wait are stored by one commit.

// mostTogether bounds how many outcomes are stored by one commit.
const mostTogether = 100

// recording is an outcome that is to be stored. It is read and written under its entry's lock.
type recording struct {
	l    *lease
	r    *queue.Record
	p    *pending // nil: only facts of it are stored
	done bool
	err  error // once it is done
}

// together are outcomes of an entry's jobs that one commit stores.
type together struct {
	s       *Store
	e       *entry
	members []*recording
	status  *queue.Status // as it is after them
	open    int           // jobs that are open then
	next    int           // number of the next new job
	own     []edit        // of the entry
	others  []edit        // of new messages
	facts   []journal.Fact
	change  *change
}

// Record stores what became of the job. The context is not heeded: an outcome
// that is known must not be lost.
func (l *lease) Record(_ context.Context, r *queue.Record) error {
	x := &recording{l: l, r: r}
	lock := l.s.locks.of(l.j.e.id)
	lock.join(x)
	lock.Lock()
	if !x.done {
		l.s.record(lock.take(x))
	}
	lock.Unlock()
	for _, m := range r.Messages { // those that were committed take no notice
		m.Draft.Abort()
	}
	return x.err
}

// record stores outcomes of one entry, whose lock is held.
func (s *Store) record(group []*recording) {
	for left := group; len(left) > 0; {
		var batch []*recording
		for _, x := range left {
			if !x.settle() {
				batch = append(batch, x)
			}
		}
		left = s.storeTogether(batch)
	}
	for _, x := range group {
		x.done = true
	}
}

// settle ends with an outcome that needs no commit with others: it is known what became of it, or its entry is gone.
func (x *recording) settle() bool {
	l := x.l
	if l.doubt != nil {
		if x.err = l.doubt.settle(); x.err != nil {
			return true
		}
	}
	switch {
	case l.kept:
	case l.over():
		x.err = queue.ErrLeaseEnded
	case l.j.e.is(entryGone): // the operator deleted it
		t := &together{s: l.s, e: l.j.e, members: []*recording{x}, facts: journal.OfDeleted(x.r.Facts)}
		t.store()
	default:
		return false
	}
	return true
}

// storeTogether stores outcomes, and returns those that are left: what comes after the one that ends the entry.
func (s *Store) storeTogether(batch []*recording) (left []*recording) {
	if len(batch) == 0 {
		return nil
	}
	e := batch[0].l.j.e
	m, err := s.share(e)
	if err != nil {
		for _, x := range batch {
			x.err = err
		}
		return nil
	}
	t := &together{s: s, e: e, status: m.status, next: int(e.next)}
	s.schedule.mu.Lock()
	t.open, _ = s.schedule.open(e)
	s.schedule.mu.Unlock()
	for i, x := range batch {
		x.err = t.add(x)
		if x.p != nil && x.p.ends {
			left = batch[i+1:]
			break
		}
	}
	if len(t.members) == 0 {
		return left
	}
	if last := t.members[len(t.members)-1].p; !last.ends {
		p := &pending{e: e, status: t.status}
		if err := p.buildStatus(m.status); err != nil {
			t.failed(err, false)
			return left
		}
		t.own = append(t.own, p.writes...)
	}
	t.store()
	return left
}

// add makes an outcome part of the commit.
func (t *together) add(x *recording) error {
	s, l := t.s, x.l
	p := &pending{e: t.e, status: t.status.Clone(), written: x.r.At, ends: x.r.Remove}
	if p.ends && l.job.Kind == queue.Bury && !p.status.Buries(t.open) {
		p.ends = false // the operator has it tried again
	}
	open := t.open
	s.schedule.mu.Lock()
	if l.j.number != 0 && !l.j.ended {
		open--
	}
	s.schedule.mu.Unlock()
	p.jobs = p.status.Apply(x.r, l.status, t.next, open)
	facts, others := x.r.Facts, []edit(nil)
	for i := range x.r.Messages {
		n, err := s.prepare(p, &x.r.Messages[i])
		if err != nil {
			s.abandon(p)
			return err
		}
		facts, others = append(slices.Clip(facts), x.r.Messages[i].Facts...), append(others, n.writes...)
	}
	open, err := p.buildJobs(open)
	if err != nil {
		s.abandon(p)
		return err
	}
	if p.ends {
		t.own = nil // what the others write of it goes
	}
	for i := range p.jobs {
		t.next = max(t.next, p.jobs[i].Number+1)
	}
	t.own, t.others, t.facts = append(t.own, p.writes...), append(t.others, others...), append(t.facts, facts...)
	t.status, t.open, x.p = p.status, open, p
	t.members = append(t.members, x)
	return nil
}

// prepare makes a message part of a change.
func (s *Store) prepare(p *pending, m *queue.MessageDraft) (*newMessage, error) {
	d, ok := m.Draft.(*draft)
	if !ok || d.s != s {
		return nil, errors.New("the draft is not this spool's")
	}
	if d.ended {
		return nil, errEnded
	}
	n, err := d.prepare(&m.Accept)
	if err != nil {
		return nil, err
	}
	if !s.schedule.reserve(n.e) {
		return nil, fmt.Errorf("entry %s exists already", n.e.id)
	}
	p.others, p.drafts = append(p.others, n), append(p.drafts, d)
	return n, nil
}

// abandon takes back what prepare reserved.
func (s *Store) abandon(p *pending) {
	s.schedule.mu.Lock()
	defer s.schedule.mu.Unlock()
	for _, n := range p.others {
		s.schedule.remove(n.e)
	}
}

// store commits.
func (t *together) store() {
	t.change = &change{writes: append(t.own, t.others...), facts: t.s.book.encode(t.facts), patient: true}
	if len(t.change.writes) > 0 || t.change.facts != nil {
		if err := t.s.commit(t.change); err != nil {
			var doubt *doubtError
			t.failed(err, errors.As(err, &doubt) && (len(t.others) > 0 || t.change.facts != nil))
			return
		}
	}
	for _, x := range t.members {
		x.endDrafts()
	}
	t.end()
}

// failed has the outcomes be stored again. Where nobody knows whether they were stored, that is found out first.
func (t *together) failed(err error, doubt bool) {
	for _, x := range t.members {
		x.err = err
		if doubt {
			x.l.doubt = t
			x.endDrafts()
		} else if x.p != nil {
			t.s.abandon(x.p)
		}
	}
	if doubt && t.status != nil && !t.status.IsZero() {
		t.s.schedule.mu.Lock()
		t.e.set(entryStatus, true) // it is looked for
		t.s.schedule.mu.Unlock()
	}
}

func (x *recording) endDrafts() {
	if x.p == nil {
		return
	}
	for _, d := range x.p.drafts {
		d.end(true)
	}
}

// settle finds out whether a change was stored whose commit broke off. It is all there or not at all.
func (t *together) settle() error {
	stored, err := t.stored()
	if err != nil {
		return err
	}
	for _, x := range t.members {
		x.l.doubt = nil
	}
	if stored {
		for _, x := range t.members {
			x.l.kept = true
		}
		t.end()
		return nil
	}
	for _, x := range t.members {
		if x.p == nil {
			continue
		}
		t.s.abandon(x.p)
		for _, n := range x.p.others {
			t.s.removeBody(n.e.file)
		}
	}
	return nil
}

func (t *together) stored() (bool, error) {
	eng, err := t.s.engine()
	if err != nil {
		return false, err
	}
	for _, x := range t.members {
		if x.p == nil || len(x.p.others) == 0 {
			continue
		}
		_, err := eng.get(envelopeKey(x.p.others[0].e.id))
		if errors.Is(err, pebble.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	return t.s.recorded(eng, t.change)
}

// end ends the leases: what they came to is stored.
func (t *together) end() {
	for _, x := range t.members {
		p := x.p
		if p != nil && t.e.is(entryGone) && len(p.others) == 0 {
			p = nil // its octets were counted out when it went
		}
		if p != nil {
			p.status = t.status
		}
		x.l.end(p)
	}
}
