package spoolfile

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
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
		eng.fs.shut()
		s.log.Error("the spool's storage failed: messages are refused until it can be opened again",
			zap.String("directory", s.dir), zap.Error(eng.cause))
		began := time.Now()
		if eng = s.reopen(eng); eng == nil {
			return
		}
		s.log.Info("the spool's storage is open again", zap.String("directory", s.dir), zap.Duration("after", time.Since(began)))
		s.wake()
	}
}

// reopen tries until the storage is open; nil when the spool is closed first.
func (s *Store) reopen(old *engine) *engine {
	cause := old.cause
	for wait := s.opts.Retry; ; wait = min(2*wait, maxRetry) {
		select {
		case <-s.closing:
			return nil
		case <-time.After(wait):
		}
		if !s.ended(old) {
			return nil
		}
		if s.space.check() != nil {
			s.stick(true)
			continue
		}
		eng, err := s.openAgain(cause)
		if err == nil {
			cause = nil
			if err = s.adopt(eng); err == nil {
				return eng
			}
			if isCorrupt(err) {
				cause = err
			}
		}
		if eng != nil {
			eng.close()
			eng.fs.shut()
			old = eng
		}
		s.stick(true)
		s.log.Error("the spool's storage cannot be opened again yet", zap.String("directory", s.dir), zap.Error(err))
	}
}

// ended waits until nothing that a failed engine has begun is under way any more: it may be a commit that is acknowledged
// when it has ended. False when the spool is closed first.
func (s *Store) ended(old *engine) bool {
	select {
	case <-old.fs.still:
		return true
	case <-s.closing:
		return false
	case <-time.After(lastWords):
	}
	s.stick(true)
	s.log.Error("the spool's storage cannot be opened again yet", zap.String("directory", s.dir), zap.Error(errBusy))
	select {
	case <-old.fs.still:
		return true
	case <-s.closing:
		return false
	}
}

// adopt puts a new engine in use: what was refused is deleted, what is stored is
// in the schedule already.
func (s *Store) adopt(eng *engine) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.settle(eng); err != nil {
		return err
	}
	s.current, s.stuck = eng, false
	return nil
}

// downError is the error of an engine that has failed. It says nothing of what was to be read: whether the engine in use
// by now has failed cannot be asked for that, since another may have taken its place meanwhile.
type downError struct{ error }

func (d *downError) Unwrap() error { return d.error }

// isDown tells whether an error is one of the storage as a whole and not of what was to be read.
func isDown(err error) bool {
	var down *downError
	return errors.As(err, &down) || errors.Is(err, queue.ErrClosed)
}

func (s *Store) stick(stuck bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck = stuck
}

// rebuilt waits, if an error is that damage was met in the store, until that was rebuilt, and tells whether it was:
// then what met the damage is to be tried again.
func (s *Store) rebuilt(ctx context.Context, err error) bool {
	return isDown(err) && isCorrupt(err) && s.await(ctx) == nil
}

// retried runs f, and once more if it met damage for which the store was rebuilt.
func retried[T any](ctx context.Context, s *Store, f func() (T, error)) (T, error) {
	v, err := f()
	if s.rebuilt(ctx, err) {
		return f()
	}
	return v, err
}

// await waits for storage that failed to be open again, but not longer than for the first attempt.
func (s *Store) await(ctx context.Context) error {
	for {
		_, err := s.engine()
		if err == nil || errors.Is(err, queue.ErrClosed) {
			return err
		}
		s.mu.Lock()
		stuck := s.stuck
		s.mu.Unlock()
		if stuck {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// openAgain opens the store, or what can be read of it if the cause of the failure is that it is damaged. The engine
// may be there although there is an error.
func (s *Store) openAgain(cause error) (*engine, error) {
	if err := s.finishRebuild(); err != nil { // of an attempt that failed
		return nil, err
	}
	if !isCorrupt(cause) {
		eng, err := s.openEngine()
		if !isCorrupt(err) && !notThere(err) {
			return eng, err
		}
		cause = err
	}
	r, deleted, err := s.rebuild(cause, nil)
	if err != nil {
		return nil, err
	}
	eng, err := s.openEngine()
	if err == nil {
		err = s.reconcile(eng, r, deleted)
	}
	return eng, err
}

// reconcile makes one of a store that was rebuilt and of the schedule, which knows what became of the messages.
func (s *Store) reconcile(eng *engine, r *asideReport, deleted func(id string) bool) error {
	stored := make(map[string]bool)
	var gone []edit
	if err := eng.each(envelopePrefix, "", func(id string, _ []byte) bool {
		if s.schedule.find(id) != nil {
			stored[id] = true
			return true
		}
		gone = append(gone, edit{key: envelopeKey(id)}, edit{key: bodyKey(id)}, edit{key: statusKey(id)}) // it was delivered
		return true
	}); err != nil {
		return err
	}
	if err := eng.commit(&change{writes: gone}); err != nil {
		return err
	}
	for _, e := range s.schedule.missing(stored) {
		if r.Lost[e.id] == "" && !deleted(e.id) {
			s.log.Error("a message of the spool is lost: nothing of it can be read", zap.String("queue_id", e.id), zap.String("aside", s.aside), s.remedy())
			r.Lost[e.id] = "nothing of it can be read"
		}
		if e.file != 0 {
			s.removeOrphan(e.file)
		}
	}
	for _, some := range []map[string]string{r.Lost, r.Held} {
		for id := range some {
			if e := s.schedule.find(id); e != nil && stored[id] {
				if err := s.reload(eng, e); err != nil {
					s.spoil(e, err)
				}
			}
		}
	}
	return s.report(s.aside, r)
}

// missing removes the entries that are not stored any more.
func (s *schedule) missing(stored map[string]bool) (missing []*entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.entries.all() {
		if !stored[e.id] && e.first.number != 0 { // and is not being committed
			missing = append(missing, e)
		}
	}
	for _, e := range missing {
		s.remove(e)
	}
	return missing
}
