package spoolpostgres

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// disown has a message deleted that may have been committed after all, although its client was told that it was not.
func (s *Store) disown(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disowned = append(s.disowned, id)
}

// takeBack deletes what was disowned. What is not there may be yet, while a COMMIT of this node's waits for its standby.
func (s *Store) takeBack(ctx context.Context) {
	late := s.late.Load() > 0
	s.mu.Lock()
	disowned := s.disowned
	s.disowned = nil
	s.mu.Unlock()
	for _, id := range disowned {
		_, err := s.Delete(ctx, id, journal.Fact{Time: time.Now().UTC(), What: journal.Deleted, ID: id, Text: "the database did not say in time that it has it, and the client was told to come again"})
		if err != nil && (late || !isNotFound(err)) {
			s.disown(id)
		}
	}
}

// lateCommit waits for one whose caller has given it up: what others see of it from then on is taken back before it is delivered.
func (s *Store) lateCommit(result <-chan error) {
	s.late.Add(1)
	go func() {
		err := <-result
		s.late.Add(-1)
		if s.closed() {
			return
		}
		s.log.Info("a COMMIT has ended that nobody waited for any more", zap.Error(err))
		ctx, cancel := context.WithTimeout(s.life, s.timeout)
		defer cancel()
		s.takeBack(ctx)
	}()
}
