package spoolfile

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// scheduler lets pebble compact one thing after another, and nothing before it is open. Where pebble fails to open after it has
// written what the log held, it closes its files under a compaction that already runs, and that panics (v2.1.7); and its own
// scheduler, which looks for work ten times a second, is never told to stop.
type scheduler struct {
	// Pebble's own, without the ticker: that serves limits that change. Here there is always room for one, and who ends
	// looks for what waits.
	*pebble.ConcurrencyLimitScheduler
	open atomic.Bool
}

func newScheduler() *scheduler {
	return &scheduler{ConcurrencyLimitScheduler: pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()}
}

// TrySchedule is asked by pebble before a compaction.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !s.open.Load() {
		return false, nil
	}
	return s.ConcurrencyLimitScheduler.TrySchedule()
}

// start lets compactions run: those that waited begin.
func (s *scheduler) start() {
	s.open.Store(true)
	if ok, turn := s.TrySchedule(); ok {
		turn.Done() // whose turn ends hands it on
	}
}
