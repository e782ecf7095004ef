package spoolfile

import (
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// newStore is where what can be read of a damaged store is written to, before it takes its place in one step.
const newStore = "store.new"

// openStored opens the store and reads it. One that is damaged is set aside, and what can be read of it
// is opened instead.
func (s *Store) openStored() (*engine, map[uint64]struct{}, error) {
	if err := s.finishRebuild(); err != nil {
		return nil, nil, err
	}
	if err := s.makeDirs(); err != nil {
		return nil, nil, err
	}
	left, err := s.takeState()
	if err != nil {
		return nil, nil, err
	}
	if err = s.inspect(left); err == nil {
		var eng *engine
		var bodies map[uint64]struct{}
		if eng, bodies, err = s.openScanned(); err == nil {
			return eng, bodies, nil
		}
	}
	if !isDamage(err) {
		return nil, nil, err
	}
	var names []string
	if left.Closed != nil {
		names = append(slices.Collect(maps.Keys(left.Closed)), "")
	}
	if _, _, err := s.rebuild(err, names); err != nil {
		return nil, nil, err
	}
	return s.openScanned()
}

// finishRebuild ends what was begun by a process that ended: a new store that is complete takes its place.
func (s *Store) finishRebuild() error {
	if _, err := s.fs.Stat(s.path(newStore)); err != nil {
		return nil
	}
	if _, err := s.fs.Stat(s.path("store")); err == nil {
		return s.fs.RemoveAll(s.path(newStore))
	}
	if names, err := s.fs.List(s.path(asideDir)); err == nil && len(names) > 0 {
		s.aside = s.fs.PathJoin(s.path(asideDir), slices.Max(names))
	}
	s.log.Error("the spool's damaged storage was set aside, and what could be read of it takes its place", zap.String("directory", s.dir), zap.String("aside", s.aside))
	return s.promoteNew()
}

func (s *Store) promoteNew() error {
	if err := s.fs.Rename(s.path(newStore), s.path("store")); err != nil {
		return err
	}
	return durable.SyncDir(s.fs.OpenDir, s.dir)
}

// rebuild makes a store of what can be read of one that is damaged, which is set aside. Of the messages that are not in
// it, some were deleted.
func (s *Store) rebuild(cause error, closed []string) (r *asideReport, deleted func(id string) bool, err error) {
	s.log.Error("damage in the spool: what can be read is taken over, and the damaged storage is set aside",
		zap.String("directory", s.dir), zap.Error(cause))
	var behind *behindError
	c, err := collect(s.fs, s.path("store"), closed, errors.As(cause, &behind))
	if err != nil {
		return nil, nil, &engineError{err}
	}
	v := c.judge()
	r = &asideReport{Time: time.Now().UTC(), Cause: firstLine(cause), Lost: v.lost, Held: v.held}
	for i := range c.parts {
		r.Parts = append(r.Parts, c.parts[i].String())
	}
	if err := s.fs.RemoveAll(s.path(newStore)); err != nil {
		return nil, nil, &engineError{err}
	}
	if err := s.makeDir(s.path(newStore)); err != nil {
		return nil, nil, &engineError{err}
	}
	if err := s.rewrite(c, v); err != nil {
		return nil, nil, &engineError{err}
	}
	dir, err := s.setAside(r)
	if err != nil {
		return nil, nil, &engineError{err}
	}
	s.aside = dir
	if err := s.fs.Rename(s.path("store"), s.fs.PathJoin(dir, "store")); err != nil {
		return nil, nil, &engineError{err}
	}
	if err := errors.Join(durable.SyncDir(s.fs.OpenDir, dir), durable.SyncDir(s.fs.OpenDir, s.dir)); err != nil {
		return nil, nil, &engineError{err}
	}
	if err := s.promoteNew(); err != nil {
		return nil, nil, &engineError{err}
	}
	s.announce(r, dir)
	return r, c.deleted, nil
}

// rewriter writes what can be read of a damaged store to a new one.
type rewriter struct {
	c    *collection
	v    verdict
	eng  *engine
	hold map[string]string // messages whose status is still to be written
	room func() bool       // there is some for the journal
	some []edit
	size int
}

// rewrite writes what can be read to the new store. What has no envelope stays where it is.
func (s *Store) rewrite(c *collection, v verdict) error {
	eng, err := openEngine(s.fs, s.path(newStore), s.opts.memTable, &s.coming, s.log)
	if err != nil {
		return err
	}
	w := &rewriter{c: c, v: v, eng: eng, hold: maps.Clone(v.held), room: s.roomForFacts()}
	maps.Copy(w.hold, v.lost)
	err = c.each(w.put)
	for key, value := range c.found {
		if err == nil {
			err = w.put([]byte(key), value)
		}
	}
	for id, why := range w.hold {
		if err == nil && c.has(envelopeKey(id)) {
			err = w.write(statusKey(id), heldStatus(nil, why))
		}
	}
	if err == nil {
		err = w.flush()
	}
	err = errors.Join(err, eng.flush(), eng.close(), durable.SyncDir(s.fs.OpenDir, s.path(newStore)))
	if errors.Is(err, errBusy) {
		s.ended(eng) // or it meets the next attempt
	}
	return err
}

func (w *rewriter) put(key, value []byte) error {
	if ofJournal(key) {
		return w.putJournal(key, value)
	}
	id := string(key[1:])
	if key[0] == jobPrefix {
		var err error
		if id, _, err = splitJobKey(id); err != nil {
			return nil //nolint:nilerr // nobody knows whose it was
		}
	}
	if !w.c.has(envelopeKey(id)) || w.v.done[id] {
		return nil
	}
	switch key[0] {
	case statusPrefix:
		if why := w.hold[id]; why != "" {
			delete(w.hold, id)
			value = heldStatus(value, why)
		}
	case envelopePrefix:
		// One that was held when it was accepted has a status, of whatever kind by now.
		if v, err := decodeEnvelope(value); err == nil && v.held && !w.c.has(statusKey(id)) && w.hold[id] == "" {
			w.hold[id] = "it was held when it was accepted, and what became of that is damaged"
			w.v.held[id] = w.hold[id]
		}
	}
	return w.write(key, value)
}

func (w *rewriter) write(key, value []byte) error {
	w.some = append(w.some, set(slices.Clone(key), slices.Clone(value)))
	if w.size += len(key) + len(value); w.size < maxBatch {
		return nil
	}
	return w.flush()
}

func (w *rewriter) flush() error {
	err := w.eng.commit(&change{writes: w.some})
	w.some, w.size = nil, 0
	return err
}

// heldStatus is a status with which the message waits for the operator.
func heldStatus(value []byte, why string) []byte {
	status, err := decodeStatus(value)
	if err != nil {
		status = new(queue.Status)
	}
	if status.Held != "" {
		why = status.Held + "; " + why
	}
	status.Held = why
	b, _ := encodeStatus(status) // has no values that cannot be written
	return b
}
