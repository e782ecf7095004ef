package spoolfile

import (
	"context"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Tally implements queue.Tallier.
func (s *Store) Tally(ctx context.Context) (t queue.Tally, err error) {
	if err := ctx.Err(); err != nil {
		return t, err
	}
	if _, err := s.engine(); err != nil {
		return t, err
	}
	t.Held, t.Dead = int(s.schedule.states.held.Load()), int(s.schedule.states.dead.Load())
	s.schedule.mu.Lock()
	defer s.schedule.mu.Unlock()
	switch {
	case len(s.schedule.turns.lines) > 0:
		t.Next = timeOf(s.schedule.latest) // when they were found to be due, or later
	case len(s.schedule.wait.items) > 0:
		t.Next = time.Unix(0, s.schedule.wait.items[0].due)
	}
	return t, nil
}

// Interface guard
var _ queue.Tallier = (*Store)(nil)
