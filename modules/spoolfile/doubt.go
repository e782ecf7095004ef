package spoolfile

import "go.uber.org/zap"

// What was being committed when the storage failed may be stored or not. The client was told that it is not, so that must
// be made true: when the storage is opened again, or at once if it is by now.

// doubts are what was being committed.
type doubts struct {
	messages map[string]disowned // that must not be there
	entries  map[string]bool     // that an operator's change was to alter
}

// disowned is a message that must not be there.
type disowned struct {
	file uint64
	c    *change
}

func newDoubts() doubts {
	return doubts{make(map[string]disowned), make(map[string]bool)}
}

// disown has a message be deleted whose commit failed.
func (s *Store) disown(id string, d disowned, failed *engine) {
	s.inDoubt(failed, func() { s.doubts.messages[id] = d })
}

// doubtful has an entry be read again which an operator's change may have altered.
func (s *Store) doubtful(id string, failed *engine) {
	s.inDoubt(failed, func() { s.doubts.entries[id] = true })
}

func (s *Store) inDoubt(failed *engine, add func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add()
	if s.current == failed {
		return
	}
	if err := s.settle(s.current); err != nil { // then that one has failed, and its successor settles it
		s.log.Warn("spool storage", zap.Error(err))
	}
}

// settle makes what was told to clients and operators true of an engine. The lock is held.
func (s *Store) settle(eng *engine) error {
	for id, d := range s.doubts.messages {
		writes := []edit{{key: envelopeKey(id)}, {key: bodyKey(id)}}
		// The place may be another record's if this one never came to be.
		recorded, err := s.recorded(eng, d.c)
		if err != nil {
			return err
		}
		if recorded {
			writes = append(writes, edit{key: factKey(d.c.place.Load())})
		}
		if err := eng.commit(&change{writes: writes}); err != nil {
			return err
		}
		s.removeBody(d.file)
		delete(s.doubts.messages, id)
	}
	for id := range s.doubts.entries {
		if e := s.schedule.find(id); e != nil {
			if err := s.reload(eng, e); err != nil {
				return err
			}
		}
		delete(s.doubts.entries, id)
	}
	return nil
}
