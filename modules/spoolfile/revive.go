package spoolfile

import (
	"time"

	"go.uber.org/zap"
)

// watch opens the storage again after a failure, such as a disk that was full,
// until that works or the spool is closed. Until then new messages are refused,
// outcomes wait in memory and no process has to be restarted.
func (s *Store) watch(eng *engine) {
	defer s.watching.Done()
	for {
		select {
		case <-s.closing:
			return
		case <-eng.failed:
		}
		eng.fs.down.Store(true)
		s.log.Error("the spool's storage failed: messages are refused until it can be opened again",
			zap.String("directory", s.dir), zap.Error(eng.cause))
		began := time.Now()
		if eng = s.reopen(); eng == nil {
			return
		}
		s.log.Info("the spool's storage is open again", zap.String("directory", s.dir), zap.Duration("after", time.Since(began)))
		s.wake()
	}
}

// reopen tries until the storage is open; nil when the spool is closed first.
func (s *Store) reopen() *engine {
	for wait := s.opts.Retry; ; wait = min(2*wait, maxRetry) {
		select {
		case <-s.closing:
			return nil
		case <-time.After(wait):
		}
		if s.space.check() != nil {
			continue
		}
		eng, err := s.openEngine()
		if err == nil {
			if err = s.adopt(eng); err == nil {
				return eng
			}
			eng.close()
		}
		s.log.Error("the spool's storage cannot be opened again yet", zap.String("directory", s.dir), zap.Error(err))
	}
}

// adopt puts a new engine in use: what was refused is deleted, what is stored is
// in the schedule already.
func (s *Store) adopt(eng *engine) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, file := range s.disowned {
		if err := eng.commit(&change{writes: []edit{{key: envelopeKey(id)}, {key: bodyKey(id)}}}); err != nil {
			return err
		}
		s.removeBody(file)
		delete(s.disowned, id)
	}
	for id := range s.unsure {
		if e := s.schedule.find(id); e != nil {
			if err := s.reload(eng, e); err != nil {
				return err
			}
		}
		delete(s.unsure, id)
	}
	s.current = eng
	return nil
}
